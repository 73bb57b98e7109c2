"""What a picture of views shows of each photograph, and the words for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt8, UInt16
from PIL import Image

from manyview.config import BlockViewsConfig, ViewsConfig
from manyview.views import ViewParameters, render_views, sample_views

# Okabe and Ito's colours, which stay apart for colour-blind readers too; but olive for yellow, for names on white.
_COLOURS = ("#D55E00", "#0072B2", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#999933", "#000000")
_CORNERS = ("top left block", "top right block", "bottom left block", "bottom right block")
_PERCENT = "\u00a0%"  # never at the beginning of a line
_LONGEST = 1000  # pixels of the larger side of a photograph as it is shown
_SAMPLE = 500  # rows and columns, at most, from which the contrast of bands is taken
_DARK, _BRIGHT = 1, 99  # percentiles that become black and white

Pixels = UInt8[np.ndarray, "_ _ 3"]
Bands = UInt8[np.ndarray, "height width bands"] | UInt16[np.ndarray, "height width bands"]
BandViews = UInt8[np.ndarray, "*views height width bands"] | UInt16[np.ndarray, "*views height width bands"]
Colours = tuple[int, int, int] | None


@dataclass(frozen=True)
class Display:
    """Images of many bands, or of 16 bits, as something to look at: which bands are shown, and with which contrast.

    Attributes:
        bands: how many the image has.
        shown: those that are red, green and blue, or thrice the one that is grey.
        low: the value that is shown as black.
        high: the value that is shown as white.
    """

    bands: int
    shown: tuple[int, int, int]
    low: float
    high: float

    @classmethod
    def of(cls, image: Bands, rgb: tuple[int, int, int] | None) -> Display:
        """For an image (height, width, bands), with one contrast for all bands that are shown.

        Args:
            image: the image.
            rgb: which of its bands are red, green and blue, if any; else the first is shown in grey.
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
            which = f"band {red} of {self.bands} is shown, in grey"
        else:
            which = f"bands {red}, {green} and {blue} of {self.bands} are shown, as red, green and blue"
        return f"{which}, with stretched contrast (bands count from 0)"


@dataclass(frozen=True)
class Views:
    """Views of a photograph.

    Attributes:
        parameters: what each of them is; two by two they are pairs.
        captions: what was done to each, in a few words.
        pixels: in RGB.
    """

    parameters: tuple[ViewParameters, ...]
    captions: tuple[str, ...]
    pixels: UInt8[np.ndarray, "views size size 3"]


@dataclass(frozen=True)
class ShownPhotograph:
    """One photograph with its views, small enough to keep many of them.

    Attributes:
        name: as the user knows it.
        bands: which of its bands are shown and how, if it is no ordinary RGB.
        width: of the photograph itself in pixels, to which the views' boxes refer.
        height: likewise.
        picture: the photograph, reduced if it is large.
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
    rgb: Colours = (0, 1, 2),
) -> ShownPhotograph:
    """Sample and render what is shown of a photograph.

    Args:
        name: of the photograph.
        image: its pixels; those that are not 8-bit RGB are shown with their contrast stretched.
        config: the run's views.
        usual: views to set beside them.
        seed: the run's seed.
        epoch: from 0.
        index: of the photograph in the run.
        rgb: which bands are red, green and blue; None where none are, and the first is shown in grey.
    """
    height, width, bands = image.shape
    display = None if image.dtype == np.uint8 and bands == 3 and rgb == (0, 1, 2) else Display.of(image, rgb)

    def views(of: ViewsConfig) -> Views:
        parameters = sample_views(of, width, height, seed=seed, epoch=epoch, image=index)
        pixels = render_views(image, parameters, of.size, rgb=rgb).transpose(0, 2, 3, 1)
        captions = tuple(deeds(view, colours=rgb is not None) for view in parameters)
        return Views(parameters, captions, np.ascontiguousarray(pixels) if display is None else display(pixels))

    return ShownPhotograph(
        readable(name),
        None if display is None else display.words,
        width,
        height,
        _reduced(image if display is None else display(image)),
        views(config),
        None if usual is None else views(usual),
    )


def _reduced(image: Pixels) -> Pixels:
    """The photograph with a larger side of at most ``_LONGEST`` pixels."""
    picture = Image.fromarray(image)
    picture.thumbnail((_LONGEST, _LONGEST), Image.Resampling.LANCZOS)
    return np.array(picture)


def readable(name: str) -> str:
    """A file's name as text; of bytes that are none, as other encodings leave them, the numbers."""
    return name.encode("utf-8", "backslashreplace").decode()


def colour(pair: int) -> str:
    """In which a pair is drawn."""
    return _COLOURS[pair % len(_COLOURS)]


def pair_name(config: ViewsConfig, pair: int) -> str:
    """What a pair shows: which block, or only its number."""
    if not isinstance(config, BlockViewsConfig):
        return f"pair {pair + 1}"
    if config.grid == (2, 2):
        return _CORNERS[pair]
    row, column = divmod(pair, config.grid[1])
    return f"row {row + 1}, column {column + 1}"


def deeds(parameters: ViewParameters, colours: bool = True) -> str:
    """What was done to a view, in a few words; nothing to the colours where it has none."""
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
    return "Block-wise views" if isinstance(config, BlockViewsConfig) else "Views of the whole photograph"


def explanation(config: ViewsConfig, usual: ViewsConfig | None) -> str:
    """What the picture shows."""
    if isinstance(config, BlockViewsConfig):
        words = (
            f"Each photograph gives {_blocks(config)} (overlap {config.overlap:g}). Of each block two random crops are "
            f"taken, {_percents(config)} of its area, and altered at random: the two views of a pair, which training "
            "pulls together."
        )
    else:
        words = (
            f"Of each photograph random crops are taken, {_percents(config)} of its area, and altered at random. "
            "Two of them at a time are the views of a pair, which training pulls together."
        )
    if usual is not None:
        words += (
            " On the right, for comparison, the pair that usual cropping gives: two random crops of the whole "
            f"photograph, {_percents(usual)} of its area."
        )
    return words


def settings(config: ViewsConfig, seed: int, epoch: int, photographs: Sequence[ShownPhotograph]) -> str:
    """The settings behind the picture."""
    shown = dict.fromkeys(photograph.bands for photograph in photographs if photograph.bands)
    bands = f" Of each photograph {' or '.join(shown)}." if shown else ""
    return f"Views of {config.size} x {config.size} pixels, seed {seed}, epoch {epoch}.{bands}"


def _blocks(config: BlockViewsConfig) -> str:
    """Number, place and size of the blocks."""
    rows, columns = config.grid
    high, wide = (f"{100 * min(1, (1 + 2 * config.overlap) / cells):.3g}" for cells in config.grid)
    size = (
        f"{wide}{_PERCENT} of its width and height"
        if high == wide
        else f"{wide}{_PERCENT} of its width, {high}{_PERCENT} of its height"
    )
    where = "four blocks, one at each corner" if config.grid == (2, 2) else f"{rows} x {columns} blocks"
    return f"{where}, {size}"


def _percents(config: ViewsConfig) -> str:
    low, high = (f"{share:.3g}" for share in (100 * config.scale[0], 100 * config.scale[1]))
    return f"{low} to {high}{_PERCENT}"
