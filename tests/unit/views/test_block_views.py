"""The callable: what it takes, what it gives, and where its randomness comes from."""

from __future__ import annotations

import doctest
import inspect
import io
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset

import manyview.views.block_views
from manyview.config import BlockViewsConfig
from manyview.errors import UserError
from manyview.views import BlockViews, render_views, sample_views

RANDOM = np.random.default_rng(0)
IMAGE = RANDOM.integers(0, 256, (40, 56, 3), dtype=np.uint8)


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def at_zero(photograph: Any, **options: Any) -> torch.Tensor:
    return BlockViews(view_size=16, seed=5, output="uint8", **options).at(photograph, 0)


def test_eight_normalised_views_by_default() -> None:
    views = BlockViews()(IMAGE)
    assert views.shape == (8, 3, 224, 224)
    assert views.dtype == torch.float32
    assert BlockViews(view_size=32, output="uint8")(IMAGE).dtype == torch.uint8


def test_normalisation_by_its_definition() -> None:
    options: dict[str, Any] = {"view_size": 24, "seed": 1, "mean": (0.1, 0.2, 0.3), "std": (0.5, 0.25, 2.0)}
    raw = BlockViews(**options, output="uint8").at(IMAGE, 3).numpy().astype(np.float64)
    mean, std = np.array(options["mean"]).reshape(3, 1, 1), np.array(options["std"]).reshape(3, 1, 1)
    views = BlockViews(**options).at(IMAGE, 3).numpy()
    np.testing.assert_allclose(views, (raw / 255 - mean) / std, rtol=0, atol=2e-6)


def test_at_gives_the_views_of_a_run() -> None:
    config = BlockViewsConfig(size=24, overlap=0.3, scale=(0.4, 0.9), solarize=(0.5, 0.2))
    views = BlockViews(24, 0.3, output="uint8", seed=9, scale=(0.4, 0.9), solarize=(0.5, 0.2))
    assert views.config == config
    parameters = sample_views(config, 56, 40, seed=9, epoch=4, image=17)
    np.testing.assert_array_equal(views.at(IMAGE, 17, epoch=4).numpy(), render_views(IMAGE, parameters, 24))


@pytest.mark.parametrize(
    "photograph",
    [
        Image.fromarray(IMAGE),
        torch.from_numpy(IMAGE).permute(2, 0, 1),
        torch.from_numpy(IMAGE).permute(2, 0, 1).contiguous(),
        encoded(Image.fromarray(IMAGE), "PNG"),
        encoded(Image.fromarray(IMAGE), "BMP"),
        np.asfortranarray(IMAGE),
    ],
    ids=["Pillow", "tensor", "contiguous tensor", "PNG", "BMP", "column-major"],
)
def test_every_kind_of_photograph_gives_the_same_views(photograph: Any) -> None:
    assert torch.equal(at_zero(photograph), at_zero(IMAGE))


def test_modes_of_pillow_images() -> None:
    gray = Image.fromarray(IMAGE[..., 0])
    assert torch.equal(at_zero(gray), at_zero(IMAGE[..., :1].repeat(3, axis=2)))
    palette = Image.fromarray(IMAGE // 64 * 64).quantize(64)
    assert torch.equal(at_zero(palette), at_zero(np.asarray(palette.convert("RGB"))))
    half = Image.fromarray(np.dstack([IMAGE, np.full((40, 56), 128, np.uint8)]))
    over_white = np.asarray(half)[..., :3] * (128 / 255) + 255 * (127 / 255)
    plain: dict[str, Any] = {"jitter": 0, "grayscale": 0, "blur": (0, 0)}
    difference = at_zero(half, **plain).int() - at_zero(np.round(over_white).astype(np.uint8), **plain).int()
    assert difference.abs().max() <= 1


def test_jpeg_is_turned_upright() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees to the right
    file = encoded(Image.fromarray(IMAGE), "JPEG", exif=exif, quality=95)
    with Image.open(io.BytesIO(file)) as image:
        lying = np.asarray(image)
    assert torch.equal(at_zero(file), at_zero(np.rot90(lying, -1)))


@pytest.mark.parametrize(
    ("photograph", "message"),
    [
        (IMAGE.astype(np.float32), r"uint8 arrays .* not float32 \(40, 56, 3\)"),
        (IMAGE[..., 0], r"not uint8 \(40, 56\)"),
        (IMAGE.transpose(2, 0, 1), r"not uint8 \(3, 40, 56\)"),
        (IMAGE[:0], r"not uint8 \(0, 56, 3\)"),
        (torch.from_numpy(IMAGE), r"not torch.uint8 \(40, 56, 3\)"),
        (torch.zeros(3, 40, 56), r"not torch.float32 \(3, 40, 56\)"),
        (torch.zeros(1, 3, 40, 56, dtype=torch.uint8), r"not torch.uint8 \(1, 3, 40, 56\)"),
        (Image.fromarray(np.zeros((4, 4), np.uint16)), "mode 'I;16' holds more than 8 bits"),
        (Image.fromarray(np.zeros((4, 4), np.float32)), "mode 'F' holds more than 8 bits"),
        (encoded(Image.fromarray(np.zeros((4, 4), np.uint16)), "PNG"), "more than 8 bits"),
        (encoded(Image.fromarray(IMAGE), "JPEG")[:500], "500 bytes cannot be decoded"),
        (b"no image", "8 bytes cannot be decoded"),
        (b"", "0 bytes cannot be decoded"),
    ],
)
def test_photographs_that_are_not_understood(photograph: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        BlockViews(view_size=16)(photograph)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"blurr": 0.5}, "BlockViews has no option 'blurr'; did you mean blur"),
        ({"kind": "whole"}, "no option 'kind'"),
        ({"view_size": 0}, "view_size must be greater than or equal to 8, not 0"),
        ({"overlap": 0.7}, "overlap must be less than or equal to 0.5, not 0.7"),
        ({"scale": (0.5, 0.2)}, "scale must be two ascending numbers"),
        ({"flip": 2, "hue": 0.9}, "2 mistakes .*flip must be .*hue must be"),
        ({"output": "float"}, "output is 'float': choose 'normalized' or 'uint8'"),
        ({"seed": -1}, "seed is -1"),
        ({"seed": 2**63}, "seed is 9223372036854775808"),
    ],
)
def test_options_that_are_wrong(options: dict[str, Any], message: str) -> None:
    # Executed annotations would refuse an unknown output first; users run without them.
    make = inspect.unwrap(BlockViews.__init__)
    with pytest.raises(UserError, match=message):
        make(object.__new__(BlockViews), **options)


def test_a_wrong_type_of_photograph() -> None:
    to_rgb = inspect.unwrap(manyview.views.block_views._to_rgb)
    with pytest.raises(UserError, match=r"takes a Pillow image, an array, .* not str"):
        to_rgb("photo.jpg")


def test_at_needs_a_seed() -> None:
    with pytest.raises(UserError, match="needs the run's seed"):
        BlockViews(view_size=16).at(IMAGE, 0)


def test_without_a_seed_pytorch_decides() -> None:
    views = BlockViews(view_size=16)
    torch.manual_seed(3)
    first, second = views(IMAGE), views(IMAGE)
    torch.manual_seed(3)
    assert torch.equal(views(IMAGE), first)
    assert torch.equal(views(IMAGE), second)
    assert not torch.equal(first, second)


def test_with_a_seed_the_sequence_depends_on_it_alone() -> None:
    torch.manual_seed(0)
    views = BlockViews(view_size=16, seed=3)
    first, second = views(IMAGE), views(IMAGE)
    torch.manual_seed(1)
    again = BlockViews(view_size=16, seed=3)
    assert torch.equal(again(IMAGE), first)
    assert torch.equal(again(IMAGE), second)
    assert not torch.equal(first, second)
    assert not torch.equal(BlockViews(view_size=16, seed=4)(IMAGE), first)


class SamePhotograph(Dataset[torch.Tensor]):
    def __init__(self, views: BlockViews) -> None:
        self.views = views

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> torch.Tensor:
        return self.views(IMAGE)


@pytest.mark.filterwarnings("ignore:This DataLoader will create")  # on a machine of a single core
@pytest.mark.parametrize("seed", [None, 0])
def test_workers_and_epochs_draw_their_own_views(seed: int | None) -> None:
    torch.manual_seed(0)
    loader = DataLoader(SamePhotograph(BlockViews(view_size=16, seed=seed)), batch_size=None, num_workers=2)
    seen = {views.numpy().tobytes() for _ in range(2) for views in loader}
    assert len(seen) == 8
    torch.manual_seed(0)
    assert {views.numpy().tobytes() for _ in range(2) for views in loader} == seen


def test_repr_names_what_was_set() -> None:
    assert repr(BlockViews(view_size=64, seed=1, blur=(0.5, 0.1))) == (
        "BlockViews(view_size=64, overlap=0.2, output='normalized', seed=1, blur=(0.5, 0.1))"
    )


def test_example_of_the_docstring() -> None:
    results = doctest.testmod(manyview.views.block_views)
    assert results.attempted > 0
    assert results.failed == 0
