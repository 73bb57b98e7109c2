from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor, nn

from manyview.backbones import load_backbone
from manyview.errors import UserError
from manyview.evaluation import extract
from manyview.evaluation.features.dataset import ImageDataset, load_readable, random_crops, random_views
from manyview.evaluation.features.extract import combine
from manyview.images import ImageFiles
from manyview.pooling import KINDS, pool
from manyview.views import sample_view
from tests.helpers.random_weights import save_random


class Colors(nn.Module):
    """A backbone so simple that its features are known: the normalized pixels themselves."""

    def forward(self, images: Tensor) -> Tensor:
        return images


def names_in(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.png"))


def test_extraction_equals_a_plain_loop(scenes: Any, tmp_path: Path) -> None:
    weights = save_random(tmp_path / "resnet18.safetensors", "resnet18", zero_init_residual=False)
    names = names_in(scenes.images)[:7]
    features = extract(load_backbone(weights), scenes.images, names, 64, batch_size=3, device="cpu", workers=0)
    reference = torchvision.models.resnet18()
    missing = reference.load_state_dict(load_file(weights), strict=False).missing_keys
    assert set(missing) == {"fc.weight", "fc.bias"}
    reference.avgpool = reference.fc = nn.Identity()
    reference.eval()
    transform = torchvision.transforms.Compose(
        [
            torchvision.transforms.Resize((64, 64)),
            torchvision.transforms.ToTensor(),
            torchvision.transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        ]
    )
    for row, name in enumerate(names):
        with Image.open(scenes.images / name) as image, torch.no_grad():
            maps = reference(transform(image.convert("RGB"))[None]).view(512, -1)
        # Pillow's pixels may differ by one level of 255.
        torch.testing.assert_close(features["avg"][row], maps.mean(1), atol=0.03, rtol=0.02)
        torch.testing.assert_close(features["max"][row], maps.amax(1), atol=0.03, rtol=0.02)
    assert features["avg"].shape == features["max"].shape == (7, 512)
    assert bool((features["max"] > features["avg"]).any())


def test_features_follow_the_names_and_are_the_pixels_of_the_warped_image(scenes: Any) -> None:
    names = names_in(scenes.images)[5:0:-1]
    features = extract(Colors(), scenes.images, names, 24, batch_size=2, device="cpu", workers=0)
    mean, std = np.array((0.485, 0.456, 0.406)), np.array((0.229, 0.224, 0.225))
    for row, name in enumerate(names):
        with Image.open(scenes.images / name) as image:
            pixels = np.asarray(image.resize((24, 24), Image.Resampling.BILINEAR), dtype=np.float64) / 255
        normalized = (pixels - mean) / std
        np.testing.assert_allclose(features["avg"][row], normalized.mean((0, 1)), atol=2e-3)
        np.testing.assert_allclose(features["max"][row], normalized.max((0, 1)), atol=0.02)  # a level is .0175


@pytest.mark.filterwarnings("ignore:This DataLoader will create")
def test_features_are_the_same_with_any_number_of_workers(scenes: Any) -> None:
    backbone = load_backbone(scenes.weights)
    none, two = (
        extract(backbone, scenes.images, names_in(scenes.images), 32, batch_size=5, device="cpu", workers=workers)
        for workers in (0, 2)
    )
    assert torch.equal(none["avg"], two["avg"])
    assert torch.equal(none["max"], two["max"])


def test_backbone_and_generator_are_left_as_they_were_but_for_eval_mode(scenes: Any) -> None:
    backbone = load_backbone(scenes.weights).train()
    before = {key: value.clone() for key, value in backbone.state_dict().items()}
    generator = torch.get_rng_state()
    features = extract(backbone, scenes.images, names_in(scenes.images)[:4], 32, device="cpu", workers=0)
    assert not backbone.training
    assert not features["avg"].requires_grad
    assert torch.equal(torch.get_rng_state(), generator)
    assert all(torch.equal(before[key], value) for key, value in backbone.state_dict().items())


def test_bf16_features_are_float32_and_near(scenes: Any) -> None:
    backbone, names = load_backbone(scenes.weights), names_in(scenes.images)[:4]
    exact, rough = (
        extract(backbone, scenes.images, names, 32, device="cpu", workers=0, precision=precision)["avg"]
        for precision in ("auto", "bf16")
    )
    assert rough.dtype == torch.float32
    assert not torch.equal(exact, rough)
    assert float((exact - rough).norm() / exact.norm()) < 0.03


def test_every_pooling_is_formed_from_the_two() -> None:
    maps = torch.randn(5, 6, 3, 4)
    pooled = {"avg": maps.mean((2, 3)), "max": maps.amax((2, 3))}
    for kind in KINDS:
        torch.testing.assert_close(combine(pooled, kind), pool(maps, kind))
    torch.testing.assert_close(combine(pooled, "gamp"), maps.mean((2, 3)) / 2 + maps.amax((2, 3)) / 2)


def test_progress_counts_images(scenes: Any) -> None:
    calls: list[tuple[int, int, str]] = []
    extract(
        Colors(),
        scenes.images,
        names_in(scenes.images)[:5],
        16,
        batch_size=2,
        device="cpu",
        workers=0,
        progress=lambda *call: calls.append(call),
        phase="here",
    )
    assert calls == [(0, 5, "here"), (2, 5, "here"), (4, 5, "here"), (5, 5, "here")]


@pytest.mark.filterwarnings("ignore:This DataLoader will create")
@pytest.mark.parametrize("workers", [0, 1])
def test_an_unreadable_image_is_named(scenes: Any, tmp_path: Path, workers: int) -> None:
    good = (scenes.images / names_in(scenes.images)[0]).read_bytes()
    for name, content in (("a.png", good), ("cut.png", good[: len(good) // 2]), ("z.png", good)):
        (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError) as caught:
        extract(Colors(), tmp_path, ["a.png", "cut.png", "z.png"], 16, device="cpu", workers=workers)
    message = str(caught.value)
    assert message.startswith(f"cannot read {tmp_path / 'cut.png'} (truncated file)")
    assert "\n" not in message


class Broken(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        return images / 0


class FixedSize(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        assert images.shape[-1] == 224, "input size must be 224"
        return images


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": 0}, "size must be at least 8 pixels, not 0"),
        ({"batch_size": 0}, "batch_size must be at least 1"),
        ({"device": "tpu9"}, "unknown device 'tpu9'"),
        ({"device": "meta"}, "'meta' is not available here"),
        ({"precision": "fp8"}, "precision must be .* not 'fp8'"),
        ({"names": []}, "no images"),
        ({"backbone": FixedSize()}, "fails on images of 16 x 16 pixels: input size must be 224"),
        ({"backbone": Broken()}, "features that are not finite"),
    ],
)
def test_mistakes_are_named(scenes: Any, options: dict[str, Any], message: str) -> None:
    arguments = {"backbone": Colors(), "images": scenes.images, "names": names_in(scenes.images)[:1], "size": 16}
    with pytest.raises(UserError, match=message):
        extract(**(arguments | {"device": "cpu", "workers": 0} | options))


def test_training_crops_are_the_sampled_ones_and_nothing_else(scenes: Any) -> None:
    config, names = random_crops(16), names_in(scenes.images)[:3]
    images = ImageDataset(ImageFiles(scenes.images, names), 16, partial(random_views, config=config, seed=4))
    places = [[(epoch, index) for index in range(3)] for epoch in range(2)]
    seen = []
    for pixels, expected in zip(load_readable(images, places, workers=0), places, strict=True):
        for row, (epoch, index) in zip(pixels, expected, strict=True):
            with Image.open(scenes.images / names[index]) as image:
                parameters = sample_view(config, *image.size, seed=4, epoch=epoch, image=index, view=0)
                crop = image.crop(parameters.crop).resize((16, 16), Image.Resampling.BILINEAR)
            if parameters.flip:
                crop = crop.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
            np.testing.assert_allclose(row.permute(1, 2, 0).int(), np.asarray(crop).astype(int), atol=1)
        seen.append(pixels)
    assert not torch.equal(seen[0], seen[1])


def test_training_crops_have_the_protocols_frequencies() -> None:
    drawn = [sample_view(random_crops(32), 200, 160, seed=0, epoch=0, image=image, view=0) for image in range(3000)]
    shares = np.array([(r - left) * (b - top) / (200 * 160) for left, top, r, b in (view.crop for view in drawn)])
    assert 0.075 < shares.min() < 0.1
    assert shares.max() > 0.95
    assert np.mean([view.flip for view in drawn]) == pytest.approx(0.5, abs=0.03)
    assert not any(view.jitter or view.grayscale or view.blur_sigma or view.solarize for view in drawn)
