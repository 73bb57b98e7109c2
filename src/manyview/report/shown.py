"""What a picture of views shows of each image, and the words for it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain, groupby

import numpy as np
from jaxtyping import UInt8, UInt16
from PIL import Image

from manyview.config import ViewGroup, ViewsConfig, in_pairs
from manyview.views import ViewParameters, render_views, sample_groups

# Okabe and Ito's colors, which stay apart for color-blind readers too; but olive for yellow, for names on white.
_COLORS = ("#D55E00", "#0072B2", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#999933", "#000000")
_CORNERS = ("top left block", "top right block", "bottom left block", "bottom right block")
_PERCENT = "\u00a0%"  # never at the beginning of a line
_LONGEST = 1000  # pixels of the larger side of an image as it is shown
_SAMPLE = 500  # rows and columns, at most, from which the contrast of bands is taken
_DARK, _BRIGHT = 1, 99  # percentiles that become black and white

Pixels = UInt8[np.ndarray, "_ _ 3"]
Bands = UInt8[np.ndarray, "height width bands"] | UInt16[np.ndarray, "height width bands"]
BandViews = UInt8[np.ndarray, "*views height width bands"] | UInt16[np.ndarray, "*views height width bands"]
Colors = tuple[int, int, int] | None
Positives = Sequence[Sequence[int]]


@dataclass(frozen=True)
class BandDisplay:
    """Images of many bands, or of 16 bits, as something to look at: which bands are shown, and with which contrast.

    Attributes:
        bands: how many the image has.
        shown: those that are red, green and blue, or thrice the one that is gray.
        low: the value that is shown as black.
        high: the value that is shown as white.
    """

    bands: int
    shown: tuple[int, int, int]
    low: float
    high: float

    @classmethod
    def of(cls, image: Bands, rgb: tuple[int, int, int] | None) -> BandDisplay:
        """For an image (height, width, bands), with one contrast for all bands that are shown.

        Args:
            image: the image.
            rgb: which of its bands are red, green and blue, if any; else the first is shown in gray.
        """
        height, width, bands = image.shape
        shown = rgb or (0, 0, 0)
        sample = image[:: -(-height // _SAMPLE), :: -(-width // _SAMPLE), list(shown)]
        low, high = np.percentile(sample, (_DARK, _BRIGHT))
        return cls(bands, shown, float(low), float(max(high, low + 1)))

    def __call__(self, pixels: BandViews) -> UInt8[np.ndarray, "*views height width 3"]:
        """The image or its views as 8-bit RGB."""
        shares = (pixels[..., list(self.shown)].astype(np.float32) - self.low) / (self.high - self.low)
        return (shares.clip(0, 1) * 255 + 0.5).astype(np.uint8)

    @property
    def words(self) -> str:
        """What is shown, as the end of a sentence."""
        red, green, blue = self.shown
        if red == green == blue:
            which = f"band {red} of {self.bands} is shown, in gray"
        else:
            which = f"bands {red}, {green} and {blue} of {self.bands} are shown, as red, green and blue"
        return f"{which}, with stretched contrast (bands count from 0)"


@dataclass(frozen=True)
class Views:
    """Views of an image.

    Attributes:
        parameters: what each of them is, in the order of their indices.
        captions: what was done to each, in a few words.
        pixels: of each in RGB; those of one group are of one size.
    """

    parameters: tuple[ViewParameters, ...]
    captions: tuple[str, ...]
    pixels: tuple[UInt8[np.ndarray, "_size _size 3"], ...]


@dataclass(frozen=True)
class Column:
    """One or two views that are positives of each other, shown one above the other.

    Attributes:
        name: what they show; empty where they go on with what stands to their left.
        positives: number of the set of positives that they are of, which decides their color.
        views: their indices.
        outlined: whether they are the first of their block.
    """

    name: str
    positives: int
    views: tuple[int, ...]
    outlined: bool


@dataclass(frozen=True)
class ShownImage:
    """One image with its views, small enough to keep many of them.

    Attributes:
        name: as the user knows it.
        bands: which of its bands are shown and how, if it is no ordinary RGB.
        width: of the image itself in pixels, to which the views' boxes refer.
        height: likewise.
        picture: the image, reduced if it is large.
        views: those of the run.
        usual: for comparison, those of usual cropping, if wanted.
    """

    name: str
    bands: str | None
    width: int
    height: int
    picture: Pixels
    views: Views
    usual: Views | None


def show(
    name: str,
    image: Bands,
    config: ViewsConfig,
    usual: ViewsConfig | None = None,
    *,
    seed: int,
    epoch: int,
    index: int,
    rgb: Colors = (0, 1, 2),
) -> ShownImage:
    """Sample and render what is shown of an image.

    Args:
        name: of the image.
        image: its pixels; those that are not 8-bit RGB are shown with their contrast stretched.
        config: the run's views.
        usual: views to set beside them.
        seed: the run's seed.
        epoch: from 0.
        index: of the image in the run.
        rgb: which bands are red, green and blue; None where none are, and the first is shown in gray.
    """
    height, width, bands = image.shape
    display = None if image.dtype == np.uint8 and bands == 3 and rgb == (0, 1, 2) else BandDisplay.of(image, rgb)

    def views(of: ViewsConfig) -> Views:
        groups = sample_groups(of.layout, width, height, seed=seed, epoch=epoch, image=index)
        pixels: list[Pixels] = []
        for group, its_views in zip(of.layout, groups, strict=True):
            rendered = render_views(image, its_views, group.size, rgb=rgb).transpose(0, 2, 3, 1)
            pixels.extend(np.ascontiguousarray(rendered) if display is None else display(rendered))
        parameters = tuple(chain.from_iterable(groups))
        captions = tuple(deeds(view, colours=rgb is not None) for view in parameters)
        return Views(parameters, captions, tuple(pixels))

    return ShownImage(
        readable(name),
        None if display is None else display.words,
        width,
        height,
        _reduced(image if display is None else display(image)),
        views(config),
        None if usual is None else views(usual),
    )


def _reduced(image: Pixels) -> Pixels:
    """The image with a larger side of at most ``_LONGEST`` pixels."""
    picture = Image.fromarray(image)
    picture.thumbnail((_LONGEST, _LONGEST), Image.Resampling.LANCZOS)
    return np.array(picture)


def readable(name: str) -> str:
    """A file's name as text; of bytes that are none, as other encodings leave them, the numbers."""
    return name.encode("utf-8", "backslashreplace").decode()


def colour(positives: int) -> str:
    """In which a set of positives is drawn."""
    return _COLORS[positives % len(_COLORS)]


def columns(config: ViewsConfig, positives: Positives | None = None) -> tuple[Column, ...]:
    """All views of an image in columns, in the order of their indices.

    Args:
        config: the views.
        positives: indices of the views that are positives of each other, as the method has them; unset: pairs.
    """
    sets = positives or in_pairs(config.layout)
    set_of = {view: number for number, views in enumerate(sets) for view in views}
    found: list[Column] = []
    first = 0
    for number, group in enumerate(config.layout):
        for place, run in enumerate(group.runs):
            region = _region(config.layout, number, place)
            # Those of one block, or of the whole, that are positives of each other stand side by side.
            parts = [tuple(part) for _, part in groupby(range(first, first + run), key=set_of.__getitem__)]
            for count, views in enumerate(parts):
                positive = set_of[views[0]]
                which = _which(len(sets[positive]), len(views), count, len(parts))
                name = [region, which if len(parts) > 1 or not region else "", _group_name(config.layout, number)]
                outlined = place < group.blocks and count == 0
                found += _in_twos(Column(", ".join(filter(None, name)), positive, views, outlined))
            first += run
    return tuple(found)


def _in_twos(column: Column) -> Iterator[Column]:
    """A column of any number of views as columns of two; the first has the name."""
    yield replace(column, views=column.views[:2])
    for start in range(2, len(column.views), 2):
        yield Column("", column.positives, column.views[start : start + 2], outlined=False)


def _region(layout: Sequence[ViewGroup], number: int, place: int) -> str:
    """What some views of a group are taken of, by its place in ``ViewGroup.runs``; empty where all are of the whole."""
    group = layout[number]
    if place < group.blocks:
        return _block_name(group, place)
    return "whole image" if any(other.blocks for other in layout) else ""


def _which(positives: int, views: int, part: int, parts: int) -> str:
    """Which set of positives of a block or of the whole some views are, or are part of."""
    if positives == 1:
        return "single view"
    if positives == 2:
        return f"pair {part + 1}"
    return f"set {part + 1}" if parts > 1 else f"{views} views"


def _group_name(layout: Sequence[ViewGroup], number: int) -> str:
    """Which group some views are of, where there are several: its size, if no other has the same."""
    sizes = [group.size for group in layout]
    if len(sizes) == 1:
        return ""
    return f"{sizes[number]} px" if len(set(sizes)) == len(sizes) else f"group {number + 1}"


def _block_name(group: ViewGroup, block: int) -> str:
    if group.grid == (2, 2):
        return _CORNERS[block]
    row, column = divmod(block, group.grid[1])
    return f"row {row + 1}, column {column + 1}"


def deeds(parameters: ViewParameters, colours: bool = True) -> str:
    """What was done to a view, in a few words; nothing to the colors where it has none."""
    done = {
        "mirrored": parameters.flip,
        "recoloured": colours and parameters.jitter is not None and not parameters.grayscale,
        "grey": colours and parameters.grayscale,
        f"blur\u00a0{parameters.blur_sigma or 0:.1f}": parameters.blur_sigma is not None,
        "solarised": colours and parameters.solarize,
    }
    return ", ".join(name for name, was_done in done.items() if was_done) or "only cropped"


def title(config: ViewsConfig) -> str:
    """Of the whole picture."""
    blocks = "Block-wise views" if any(group.blocks for group in config.layout) else ""
    if not any(group.of_whole for group in config.layout):
        return blocks
    return f"{blocks} and views of the whole image" if blocks else "Views of the whole image"


def explanation(config: ViewsConfig, usual: ViewsConfig | None, positives: Positives | None = None) -> str:
    """What the picture shows."""
    first, *others = config.layout
    pairs = all(len(views) == 2 for views in positives or in_pairs(config.layout))
    if others or not pairs or (first.blocks and first.of_whole):
        words = _explain_groups(config.layout, pairs)
    elif first.blocks:
        words = (
            f"Each image gives {_blocks(first)} (overlap {first.overlap:g}). Of each block two random crops are "
            f"taken, {_percents(first)} of its area, and altered at random: the two views of a pair, which training "
            "pulls together."
        )
    else:
        words = (
            f"Of each image random crops are taken, {_percents(first)} of its area, and altered at random. "
            "Two of them at a time are the views of a pair, which training pulls together."
        )
    if usual is not None:
        words += (
            " On the right, for comparison, the pair that usual cropping gives: two random crops of the whole "
            f"image, {_percents(usual.layout[0])} of its area."
        )
    return words


def _explain_groups(layout: Sequence[ViewGroup], pairs: bool) -> str:
    """Several sources or sizes, one after the other."""
    parts = []
    for group in layout:
        size = f" of {group.size} x {group.size} pixels" if len(layout) > 1 else ""
        if group.blocks:
            blocks = f"{_blocks(group)} (overlap {group.overlap:g})"
            parts.append(f"{_views(group.of_block)}{size} of each of {blocks}, {_percents(group)} of the block's area")
        if group.of_whole:
            parts.append(f"{_views(group.of_whole)}{size} of the whole image, {_percents(group)} of its area")
    those = "the two views of a pair" if pairs else "positives of each other"
    return (
        f"Each image gives random crops, altered at random: {'; '.join(parts)}. "
        f"Views of one color are {those}, which training pulls together."
    )


def settings(config: ViewsConfig, seed: int, epoch: int, photographs: Sequence[ShownImage]) -> str:
    """The settings behind the picture."""
    shown = dict.fromkeys(photograph.bands for photograph in photographs if photograph.bands)
    bands = f" Of each image {' or '.join(shown)}." if shown else ""
    sizes = " and ".join(dict.fromkeys(f"{group.size} x {group.size}" for group in config.layout))
    return f"Views of {sizes} pixels, seed {seed}, epoch {epoch}.{bands}"


def _blocks(group: ViewGroup) -> str:
    """Number, place and size of the blocks."""
    rows, columns = group.grid
    high, wide = (f"{100 * min(1, (1 + 2 * group.overlap) / cells):.3g}" for cells in group.grid)
    size = (
        f"{wide}{_PERCENT} of its width and height"
        if high == wide
        else f"{wide}{_PERCENT} of its width, {high}{_PERCENT} of its height"
    )
    where = "four blocks, one at each corner" if group.grid == (2, 2) else f"{rows} x {columns} blocks"
    return f"{where}, {size}"


def _percents(group: ViewGroup) -> str:
    low, high = (f"{100 * share:.3g}" for share in group.augmentation.scale)
    return f"{low} to {high}{_PERCENT}"


def _views(count: int) -> str:
    return "1 view" if count == 1 else f"{count} views"
