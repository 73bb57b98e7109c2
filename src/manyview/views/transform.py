"""Block-wise views as one transform of Pillow images, arrays, tensors, files or their bytes, for any training loop."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float32, UInt8, UInt16
from PIL import Image
from pydantic import ValidationError
from torch import Tensor
from torch.utils.data import get_worker_info

from manyview.config import IMAGENET_MEAN, IMAGENET_STD, BlockViewsConfig, ConfigError
from manyview.config.resolve import nearest_name
from manyview.config.views import idle_settings
from manyview.errors import UserError
from manyview.images import UnreadableImage, open_image
from manyview.images.decode import to_rgb
from manyview.views.geometry import largest_shrink
from manyview.views.normalization import normalize
from manyview.views.render import render_views
from manyview.views.sampling import ViewParameters, sample_views, shrink_crops

AnyImage = Image.Image | np.ndarray | Tensor | bytes | str | os.PathLike[str]
Pixels = UInt8[np.ndarray, "height width bands"] | UInt16[np.ndarray, "height width bands"]
Views = (
    Float32[Tensor, "views bands size size"]
    | UInt8[Tensor, "views bands size size"]
    | UInt16[Tensor, "views bands size size"]
)

_AUGMENTATION = set(BlockViewsConfig.model_fields) - {"kind", "size", "overlap", "grid"}
_OPTIONS = (
    *("view_size", "overlap", "grid", "output", "seed", "stacked", "bands", "rgb_bands"),
    *sorted(_AUGMENTATION),
)


class BlockViews:
    """Two random views of each of an image's overlapping blocks (Section 3.1).

    Views 2k and 2k + 1 are a positive pair: both are crops of block k, where blocks are counted row by row: top
    left, top right, bottom left, bottom right. An image may be a file's path or its bytes, which is fastest for JPEG:
    a large one is decoded no larger than its views need; a Pillow image; or in RGB an array (height, width, 3) or a
    tensor (3, height, width) of uint8, or of floating-point values from 0 to 1, as ``ToTensor`` gives them.

    Without a seed, a call draws from PyTorch's default generator: ``torch.manual_seed`` repeats it, and each worker of
    a ``DataLoader`` draws its own. With a seed, the calls of this object give a sequence that depends on the seed
    alone (in a loader's workers, on the worker's seed too), and ``at`` gives the views of a training run.

    It serves as the transform of any torch ``Dataset``. Lightly and solo-learn need a list of views: ``stacked=False``.
    In solo-learn it replaces ``FullTransformPipeline`` in ``prepare_datasets``, with ``num_large_crops`` set to
    2 x blocks; its SimSiam takes two views only, its SimCLR any number.

    Args:
        view_size: Side of a view in pixels.
        overlap: Overlap of the blocks from 0 to 0.5: a block is (1 + 2 overlap) times as wide and as high as a cell of
            the grid.
        grid: Rows and columns of blocks.
        output: "normalized" for float32 minus the mean over the standard deviation, ready for a model;
            "uint8" for pixels as they are, from 0 to 255, or of 16-bit arrays uint16 from 0 to 65535.
        seed: Seed of the views, from 0 to 2**63 - 1.
        stacked: Whether the views come as one tensor, or as a list of them.
        bands: Number of bands of images that are not 8-bit RGB: paths or bytes of files such as TIFF, arrays (height,
            width, bands) or tensors (bands, height, width), of uint8 or uint16, or of floating-point values from 0 to
            1, which become uint16. Normalizing them takes ``mean`` and ``std``, a number a band.
        rgb_bands: Which of those bands, from 0, are red, green and blue; colors are augmented in those only, and not
            at all if there are none.
        **augmentation: Other fields of ``manyview.config.BlockViewsConfig``, such as ``scale`` or ``blur``; ``mean``
            and ``std`` are ImageNet's unless they are given.

    Raises:
        ConfigError: If an option does not exist, a value is out of its range, or other options leave one without
            effect.

    Example:
        >>> views = BlockViews(view_size=32)(Image.new("RGB", (160, 120)))
        >>> views.shape
        torch.Size([8, 3, 32, 32])
    """

    def __init__(
        self,
        view_size: int = 224,
        overlap: float | int = 0.2,
        grid: tuple[int, int] = (2, 2),
        output: Literal["normalized", "uint8"] = "normalized",
        seed: int | None = None,
        stacked: bool = True,
        bands: int | None = None,
        rgb_bands: tuple[int, int, int] | None = None,
        **augmentation: Any,
    ) -> None:
        if output not in ("normalized", "uint8"):
            raise ConfigError([f"output is {output!r}: choose 'normalized' or 'uint8'"])
        if seed is not None and not 0 <= seed < 2**63:
            raise ConfigError([f"seed is {seed}: give a whole number from 0 to 2**63 - 1"])
        geometry = {"size": view_size, "overlap": overlap, "grid": grid}
        self.config = _configure(geometry, augmentation, output, bands, rgb_bands)
        self.output = output
        self.seed = seed
        self.stacked = stacked
        self.bands = bands
        self.rgb_bands = rgb_bands
        self._calls = 0

    def __call__(self, image: AnyImage) -> Views | list[Tensor]:
        """Fresh views of an image.

        Returns:
            Tensor (2 x blocks, 3 or ``bands``, view_size, view_size), float32 or of the image's type as
            ``output`` says; if not ``stacked``, a list of 2 x blocks tensors (3 or ``bands``, view_size, view_size).

        Raises:
            UserError: If the image has an unknown type, or cannot be decoded.
        """
        if self.seed is None:
            return self._views(image, int(torch.randint(2**63 - 1, ())), epoch=0, index=0)
        worker = get_worker_info()
        stream = worker.seed % 2**63 if worker else 0
        self._calls += 1
        return self._views(image, self.seed, epoch=stream, index=self._calls - 1)

    def at(self, image: AnyImage, index: int, epoch: int = 0) -> Views | list[Tensor]:
        """The views that a run with this object's seed and settings makes of its image ``index`` in ``epoch``.

        A run decodes an image that is much larger than its views need at a reduced size; for such an image only the
        file's bytes give exactly the run's views, and its pixels nearly.

        Returns:
            As for a call, but the same each time.

        Raises:
            UserError: If this object has no seed, or the image has an unknown type or cannot be decoded.
        """
        if self.seed is None:
            raise UserError("BlockViews.at needs the run's seed: make the object with BlockViews(..., seed=0)")
        return self._views(image, self.seed, epoch=epoch, index=index)

    def __repr__(self) -> str:
        config = self.config
        options: dict[str, Any] = {"view_size": config.size, "overlap": config.overlap, "grid": config.grid}
        options["output"] = self.output
        optional = {"seed": None, "stacked": True, "bands": None, "rgb_bands": None}
        options |= {name: getattr(self, name) for name, usual in optional.items() if getattr(self, name) != usual}
        options |= {name: value for name, value in config if name in config.model_fields_set & _AUGMENTATION}
        return f"BlockViews({', '.join(f'{name}={value!r}' for name, value in options.items())})"

    def _views(self, image: AnyImage, seed: int, epoch: int, index: int) -> Views | list[Tensor]:
        pixels, parameters = self._open(image, seed, epoch, index)
        rgb = (0, 1, 2) if self.bands is None else self.rgb_bands
        views = torch.from_numpy(render_views(pixels, parameters, self.config.size, rgb=rgb))
        if self.output == "normalized":
            views = normalize(views, self.config.mean or IMAGENET_MEAN, self.config.std or IMAGENET_STD)
        return views if self.stacked else list(views.unbind())

    def _open(self, image: AnyImage, seed: int, epoch: int, index: int) -> tuple[Pixels, tuple[ViewParameters, ...]]:
        """Pixels, and the parameters of their views."""
        if isinstance(image, bytes | str | os.PathLike):
            return self._decode(image, seed, epoch, index)
        pixels = self._pixels(image)
        height, width, _ = pixels.shape
        return pixels, sample_views(self.config, width, height, seed=seed, epoch=epoch, image=index)

    def _decode(
        self, file: bytes | str | os.PathLike[str], seed: int, epoch: int, index: int
    ) -> tuple[Pixels, tuple[ViewParameters, ...]]:
        source = file if isinstance(file, bytes) else Path(file)
        try:
            image = open_image(source, "rgb" if self.bands is None else self.bands)
            width, height = image.width, image.height
            parameters = sample_views(self.config, width, height, seed=seed, epoch=epoch, image=index)
            shrink = largest_shrink((view.crop for view in parameters), self.config.size) if self.bands is None else 1
            pixels = image.decode(shrink)
        except UnreadableImage as error:
            what = f"these {len(source)} bytes" if isinstance(source, bytes) else str(source)
            raise UserError(f"{what} cannot be decoded as an image: {error.reason}") from None
        return pixels, shrink_crops(parameters, shrink, (pixels.shape[1], pixels.shape[0]))

    def _pixels(self, image: AnyImage) -> Pixels:
        if isinstance(image, Image.Image) and self.bands is None:
            return pillow_pixels(image)
        return array_pixels(image, self.bands)


def _configure(
    geometry: dict[str, Any],
    augmentation: dict[str, Any],
    output: str,
    bands: int | None,
    rgb_bands: tuple[int, int, int] | None,
) -> BlockViewsConfig:
    """The options as a configuration; errors use the names of the caller's arguments."""
    unknown = sorted(set(augmentation) - _AUGMENTATION)
    if unknown:
        raise ConfigError([f"BlockViews has no option {name!r}{nearest_name(name, _OPTIONS)}" for name in unknown])
    try:
        config = BlockViewsConfig(**geometry, **augmentation)
    except ValidationError as error:
        raise ConfigError([_sentence(detail) for detail in error.errors()]) from None
    usual = BlockViewsConfig.model_fields["overlap"].default
    given = {*augmentation, *(("overlap",) if config.overlap != usual else ())}
    problems = [*_band_problems(config, bands, rgb_bands), *_idle(config, given, bands, rgb_bands)]
    if bands is not None and output == "normalized" and (config.mean is None or config.std is None):
        problems.append(f"bands={bands} needs mean and std, {bands} numbers each, or output='uint8'")
    if problems:
        raise ConfigError(problems)
    return config


def _band_problems(
    config: BlockViewsConfig, bands: int | None, rgb_bands: tuple[int, int, int] | None
) -> Iterator[str]:
    """Problems with the bands and with the options that depend on them."""
    if bands is None:
        if rgb_bands is not None:
            yield "rgb_bands has no effect without bands, the number of bands of the images"
    elif bands < 1:
        yield f"bands is {bands}: give a whole number from 1"
    elif rgb_bands is not None and (len(set(rgb_bands) & set(range(bands))), len(rgb_bands)) != (3, 3):
        yield f"rgb_bands is {rgb_bands}: name three different bands from 0 to {bands - 1}"
    for name in ("mean", "std"):
        numbers = getattr(config, name)
        if numbers is not None and len(numbers) != (bands or 3):
            yield f"{name} must have {bands or 3} numbers, one a band, not {len(numbers)}"


def _idle(
    config: BlockViewsConfig, given: set[str], bands: int | None, rgb_bands: tuple[int, int, int] | None
) -> Iterator[str]:
    """Problems with given options that nothing reads."""
    colorless = "no band has a color without rgb_bands" if bands is not None and rgb_bands is None else None
    [group] = config.layout
    for name, reason in idle_settings(group, colorless).items():
        if name in given:
            yield f"{name} has no effect because {reason}"


def _sentence(detail: Any) -> str:
    """A pydantic error as one sentence."""
    message = str(detail["msg"]).removeprefix("Value error, ").replace("Input should", "must")
    if not detail["loc"]:
        return message
    name = "view_size" if detail["loc"][0] == "size" else detail["loc"][0]
    return f"{name} {message}, not {detail['input']!r}"


def pillow_pixels(image: Image.Image) -> UInt8[np.ndarray, "height width 3"]:
    """A Pillow image's pixels in RGB: transparency composited over white, more than 8 bits scaled.

    Raises:
        UserError: If its colors are undefined, as with 32 bits and an unknown white.
    """
    try:
        return np.asarray(to_rgb(image))
    except UnreadableImage as error:
        raise UserError(f"BlockViews cannot take this Pillow image of mode {image.mode!r}: {error.reason}") from None


def array_pixels(image: AnyImage, bands: int | None) -> Pixels:
    """Check an array or a tensor, and return its pixels with the bands last.

    Args:
        image: Array (height, width, bands) or tensor (bands, height, width).
        bands: Number of bands, of 8 or 16 bits; None for 8-bit RGB. Floating-point values from 0 to 1 become 16 bits,
            or those of RGB 8.

    Raises:
        UserError: If it has another type, shape or dtype.
    """
    if isinstance(image, Tensor):
        dtype, axis = str(image.dtype).removeprefix("torch."), 0
    elif isinstance(image, np.ndarray):
        dtype, axis = image.dtype.name, -1
    else:
        types = "arrays and tensors" if bands else "Pillow images, arrays, tensors"
        raise UserError(f"BlockViews takes paths or bytes of files, {types}, not {type(image).__name__}")
    dtypes, count = (("uint8",), 3) if bands is None else (("uint8", "uint16"), bands)
    shape = tuple(image.shape)
    floating = dtype.startswith(("float", "bfloat"))
    if not (floating or dtype in dtypes) or len(shape) != 3 or shape[axis] != count or 0 in shape:
        types = " or ".join(dtypes)
        raise UserError(
            f"BlockViews takes arrays (height, width, {count}) and tensors ({count}, height, width) of {types}, or of "
            f"floating-point values from 0 to 1, not {image.dtype} {shape}"
            + ("; for other bands or 16 bits give their number, as in bands=4" if bands is None else "")
        )
    if isinstance(image, Tensor):
        image = image.detach().cpu().movedim(0, -1)
        image = image.double().numpy() if floating else image.numpy()
    if floating:
        return _from_shares(image, np.uint8 if bands is None else np.uint16)
    return np.ascontiguousarray(image, dtype=dtype)


def _from_shares(values: np.ndarray, dtype: type[np.uint8] | type[np.uint16]) -> Pixels:
    """Pixels of floating-point values from 0 to 1, rounded; those that were divided by the largest value come back.

    Raises:
        UserError: a value is NaN or beyond 0 to 1, as after normalization.
    """
    low, high = values.min(), values.max()
    if not (low >= 0 and high <= 1):
        raise UserError(
            f"BlockViews takes floating-point values from 0 to 1, and these are from {low:.4g} to {high:.4g}: give the "
            "image before it is normalized (BlockViews normalizes the views), or divide it by its white"
        )
    return np.rint(values.astype(np.float64) * np.iinfo(dtype).max).astype(dtype)
