"""What is recorded beside weights: their network, and the mean and standard deviation of their images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from manyview.backbones.base import Backbone
from manyview.backbones.build import usual_normalization
from manyview.backbones.timm import timm_input_size
from manyview.errors import UserError
from manyview.images.depth import FEWEST_BITS, MOST_BITS, require_bit_depth
from manyview.options.channels import Numbers, read_channels
from manyview.parsing import parse_json
from manyview.runs import sha256

_LARGEST = 1e6  # of a mean or a standard deviation of values from 0 to 1, which may be anywhere
_BOOLEANS = {"true": True, "false": False}
_CARD = "manyview.json"


@dataclass(frozen=True)
class Record:
    """What is known of weights besides themselves.

    Attributes:
        name: of the network; None if it is not recorded.
        in_channels: of its images; None if it is not recorded.
        mean: of each channel by which images are normalized; None if it is not recorded.
        std: standard deviation of each channel.
        rgb: whether the channels are red, green and blue.
        bit_depth: bits that the values of 16-bit files use; None for all 16, or if it is not recorded.
        source: where the normalization is recorded, in words.
    """

    name: str | None = None
    in_channels: int | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    rgb: bool = True
    source: str = ""
    bit_depth: int | None = None

    def __post_init__(self) -> None:
        """Check values that come from a file.

        Raises:
            ValueError: they are of no network, or no means and standard deviations.
        """
        if not isinstance(self.name, str | None):
            raise ValueError(f"a network called {self.name!r}")
        if not (self.in_channels is None or (isinstance(self.in_channels, int) and 0 < self.in_channels < 2**15)):
            raise ValueError(f"{self.in_channels!r} channels")
        mean, std = self.mean or (), self.std or ()
        sound = all(abs(each) < _LARGEST for each in mean) and all(1 / _LARGEST < each < _LARGEST for each in std)
        if len(mean) != len(std) or not sound:  # nor is NaN less than anything
            raise ValueError(f"mean {self.mean} and standard deviation {self.std}")
        if self.bit_depth is not None and not FEWEST_BITS <= self.bit_depth <= MOST_BITS:
            raise ValueError(f"a depth of {self.bit_depth!r} bits")


def recorded(path: Path, metadata: Mapping[str, str]) -> Record:
    """What is recorded of a file's weights: in its header, in the card of an export, or as Hugging Face has it.

    Args:
        path: the weights' file.
        metadata: the header of manyview's own files; empty for others.

    Raises:
        UserError: what it records, or a file beside it, which says more, is damaged.
    """
    try:
        return _of_header(metadata) or _of_card(path) or _of_hugging_face(path) or Record()
    except UserError:
        raise
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        fault = f"it lacks {error}" if isinstance(error, KeyError) else str(error)
        raise UserError(
            f"what is recorded of the weights in {path}, there or in a JSON file beside them, is damaged ({fault})"
        ) from error


def _of_header(metadata: Mapping[str, str]) -> Record | None:
    """Of the header of manyview's own files."""
    if not metadata:
        return None
    known = "mean" in metadata or "std" in metadata
    mean, std = (_split(metadata[key]) if known else None for key in ("mean", "std"))
    channels, rgb = int(metadata.get("in_channels", "3")), _BOOLEANS[metadata.get("rgb", "true")]
    depth = int(metadata["bit_depth"]) if "bit_depth" in metadata else None
    return Record(metadata.get("name"), channels, mean, std, rgb, "as the file records", depth)


def _of_card(path: Path) -> Record | None:
    """Of the card of an export, if it is this very file's."""
    for card in (path.with_name(f"{path.name}.json"), path.with_name(_CARD)):
        about = _read(card)
        sums = {} if about is None else about.get("sha256")  # another program's may be a text
        if about is None or not isinstance(sums, dict) or path.name not in sums or sums[path.name] != sha256(path):
            continue
        backbone, images = about["backbone"], about["images"]
        mean, std = (tuple(map(float, images[key])) for key in ("mean", "std"))
        rgb, source = images["channels"] == "RGB", f"as {card.name} beside the file records"
        return Record(backbone["name"], int(backbone["in_channels"]), mean, std, rgb, source, images.get("bit_depth"))
    return None


def _of_hugging_face(path: Path) -> Record | None:
    """Of a folder as the Hugging Face hub has it: timm's ``config.json``, or transformers' with an image processor."""
    config, processor = _read(path.with_name("config.json")), _read(path.with_name("preprocessor_config.json")) or {}
    if config is None or not ({"architecture", "model_type"} & config.keys()):
        return None
    settings = config.get("pretrained_cfg") or {}
    name = f"timm/{config['architecture']}" if isinstance(config.get("architecture"), str) else None
    channels = config.get("num_channels") or (config.get("model_args") or {}).get("in_chans") or 3
    of_timm = "mean" in settings and "std" in settings
    mean, std = (
        (settings["mean"], settings["std"]) if of_timm else (processor.get(f"image_{key}") for key in ("mean", "std"))
    )
    source = f"as {'config.json' if of_timm else 'preprocessor_config.json'} beside the file records"
    if not isinstance(mean, list) or not isinstance(std, list) or len(mean) != len(std):
        return Record(name, channels, rgb=channels == 3)
    return Record(name, channels, tuple(map(float, mean)), tuple(map(float, std)), channels == 3, source)


def settle_images(
    backbone: Backbone, record: Record, mean: Numbers | None, std: Numbers | None, bit_depth: int | None
) -> str:
    """Set the images of a loaded backbone and their normalization: as given, as recorded, or the usual one.

    Args:
        backbone: with its weights.
        record: what is known of these.
        mean: given by the user; None for none.
        std: given by the user.
        bit_depth: given by the user.

    Returns:
        The normalization and its origin, as a sentence.

    Raises:
        UserError: the given values are no means or standard deviations of the backbone's channels, or no depth.
    """
    backbone.bit_depth = record.bit_depth
    source = "as no other is known"
    if record.mean is not None and record.std is not None:
        fits = len(record.mean) == backbone.in_channels
        if not fits and (mean is None or std is None):
            raise UserError(
                f"mean and standard deviation of {len(record.mean)} channels are recorded for weights of "
                f"{backbone.name} for images of {backbone.in_channels}: give both (--mean, --std)"
            )
        if fits:
            backbone.take_images(record.mean, record.std, rgb=record.rgb)
            source = record.source
    elif backbone.rgb and (usual := usual_normalization(backbone.name)):
        backbone.take_images(*usual, rgb=True)
        source = usual_source(backbone.name)
    return renormalize(backbone, mean, std, bit_depth) or normalization_sentence(backbone, source)


def renormalize(backbone: Backbone, mean: Numbers | None, std: Numbers | None, bit_depth: int | None) -> str:
    """Replace a backbone's normalization, and the depth of its images, by the given ones.

    Returns:
        The normalization as a sentence; "" if none is given.

    Raises:
        UserError: the values are no means or standard deviations of its channels, or no depth.
    """
    if bit_depth is not None:
        require_bit_depth(bit_depth)
        backbone.bit_depth = bit_depth
    if mean is None and std is None:
        return ""
    own = backbone.mean, backbone.std
    new_mean, new_std = (
        usual if value is None else read_channels(value, backbone.in_channels, what)
        for value, what, usual in zip((mean, std), ("mean", "std"), own, strict=True)
    )
    backbone.take_images(new_mean, new_std, rgb=backbone.rgb)
    return normalization_sentence(backbone, "as given")


def normalization_sentence(backbone: Backbone, source: str) -> str:
    """Mean, standard deviation and their origin, as a sentence."""
    mean, std = (" ".join(f"{value:g}" for value in values) for values in (backbone.mean, backbone.std))
    size = None if not backbone.name.startswith("timm/") else timm_input_size(backbone.name.removeprefix("timm/"))
    made = f" (timm's own are of images of {size[0]} x {size[1]} pixels)" if size else ""
    return (
        f"Images are normalized by mean {mean} and standard deviation {std}: {source}{made}.{depth_sentence(backbone)}"
    )


def depth_sentence(backbone: Backbone) -> str:
    """The white of 16-bit files as a further sentence; "" if it is that of 16 bits."""
    depth = backbone.bit_depth
    return "" if depth is None else f" White is {2**depth - 1:,} in 16-bit files (bit depth {depth})."


def usual_source(name: str) -> str:
    """Where ``usual_normalization`` has its values from, in words."""
    return f"those of timm's own weights of {name}" if name.startswith("timm/") else "those of ImageNet"


def _split(text: str) -> tuple[float, ...]:
    return tuple(map(float, text.split(",")))


def _read(path: Path) -> dict[str, Any] | None:
    if not path.is_file():
        return None
    try:
        content = parse_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path}, which describes the weights beside it, cannot be read: {error}") from error
    return content if isinstance(content, dict) else None
