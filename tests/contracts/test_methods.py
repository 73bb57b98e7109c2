"""What every method promises, whichever it is."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

import manyview
from manyview.backbones import wrap_backbone
from manyview.config import PretrainConfig, resolve
from manyview.config.resolve import Assignment
from manyview.export import export_backbone
from manyview.heads import build_head
from manyview.methods import METHODS, Method, MethodBatch, Moment, build_method
from tests.helpers.tiny import METHODS as SMALL
from tests.helpers.tiny import WITH_IMAGE_AWARE, Interrupting, labels, photos, train_tiny, write_images

__all__ = ["labels", "photos"]

IMAGES, PAIRS, SIZE = 4, 4, 16
WITH_TERM = " and the image-aware loss"
# Each method as it is, and those that can add the image-aware loss to their own with that.
CASES = [
    case
    for name, method in METHODS.items()
    for case in (name, *([name + WITH_TERM] if "losses.image_aware" in method.section.reads else []))
]
CLASSES = 3
every_method = pytest.mark.parametrize("name", METHODS)
every_case = pytest.mark.parametrize("case", CASES)


def settings_of(case: str) -> dict[str, Any]:
    """Settings by dotted key."""
    name = case.removesuffix(WITH_TERM)
    settings: dict[str, Any] = {"method.name": name, **{f"method.{key}": value for key, value in SMALL[name].items()}}
    if case != name:
        settings |= {"losses.image_aware.weight": 2.0, **WITH_IMAGE_AWARE.get(name, {})}
    return settings


def configured(case: str) -> PretrainConfig:
    values = {"data.images": "photos", "training.batch_size": IMAGES, **settings_of(case)}
    if METHODS[values["method.name"]].section.labeled:
        values |= {"data.labels": "labels.csv", "method.classes": [f"class {number}" for number in range(CLASSES)]}
    return resolve({}, [Assignment(key, value, "test") for key, value in values.items()])


def build(case: str, *, seed: int = 0, norms: bool = True) -> Method:
    torch.manual_seed(seed)
    layers = nn.Sequential(nn.Conv2d(3, 8, 3, 2), nn.BatchNorm2d(8) if norms else nn.Identity(), nn.ReLU())
    method = build_method(wrap_backbone(layers, SIZE), configured(case))
    if method.section.labeled:
        method.take_targets((torch.arange(IMAGES * 8)[:, None] % (2 + torch.arange(CLASSES)) == 0).float())
    return method


def batches(count: int) -> Iterator[MethodBatch]:
    for number in range(count):
        generator = torch.Generator().manual_seed(number)
        views = torch.randn(IMAGES, 2 * PAIRS, 3, SIZE, SIZE, generator=generator)

        def permutation(length: int, number: int = number) -> Tensor:
            return torch.randperm(length, generator=torch.Generator().manual_seed(1000 + number))

        yield MethodBatch((views,), torch.arange(IMAGES) + IMAGES * number, permutation, Moment(number, 8, 4))


def step(method: Method, optimizer: torch.optim.Optimizer, batch: MethodBatch) -> float:
    loss = method(batch)["loss"]
    optimizer.zero_grad()
    loss.backward()
    method.after_backward(batch.moment)
    optimizer.step()
    method.after_step(batch.moment)
    return float(loss.detach())


def sgd(method: Method) -> torch.optim.Optimizer:
    return torch.optim.SGD([parameter for parameter in method.parameters() if parameter.requires_grad], lr=0.1)


@every_method
def test_its_section_names_it(name: str) -> None:
    assert METHODS[name].section.model_fields["name"].default == name
    assert isinstance(configured(name).method, METHODS[name].section)


@every_case
def test_what_a_batch_gives(case: str) -> None:
    method = build(case)
    (batch,) = batches(1)
    result = method(batch)

    assert result["loss"].isfinite()
    assert [key for key, value in result.items() if value.requires_grad] == ["loss"]
    assert result["z"].ndim == 2
    assert len(result["z"]) >= IMAGES
    assert all(value.dtype == torch.float32 for value in result.values())
    assert all(value.shape == () for key, value in result.items() if key != "z")


@every_method
def test_the_loss_is_in_float32_under_autocast(name: str) -> None:
    (batch,) = batches(1)
    exact = build(name)(batch)["loss"]
    method, maps = build(name), list[torch.dtype]()
    method.backbone.register_forward_hook(lambda module, inputs, output: maps.append(output.dtype))
    with torch.autocast("cpu", torch.bfloat16):
        rough = method(batch)

    assert set(maps) == {torch.bfloat16}
    assert {value.dtype for value in rough.values()} == {torch.float32}
    torch.testing.assert_close(rough["loss"], exact, atol=0.1, rtol=0.05)


@every_case
def test_all_that_is_trainable_is_optimized_once_and_learns(case: str) -> None:
    method = build(case)
    groups = method.parameter_groups(configured(case))
    optimized = list(itertools.chain.from_iterable(group["params"] for group in groups))

    assert len(optimized) == len(set(optimized))
    assert set(optimized) == {parameter for parameter in method.parameters() if parameter.requires_grad}
    (batch,) = batches(1)
    method(batch)["loss"].backward()
    silent = [key for key, value in method.named_parameters() if value.requires_grad and value.grad is None]
    assert silent == []


@every_method
def test_the_same_seed_gives_the_same_losses_and_another_others(name: str) -> None:
    def losses(seed: int) -> list[float]:
        method = build(name, seed=seed)
        optimizer = sgd(method)
        return [step(method, optimizer, batch) for batch in batches(2)]

    assert losses(0) == losses(0) != losses(1)


@every_case
def test_its_state_is_all_in_its_state_dict(case: str) -> None:
    """After some steps, a new one with that state goes on as the old one would have."""
    first, second = build(case), build(case, seed=9)
    optimizer = sgd(first)
    *before, after, last = batches(5)
    for batch in before:
        step(first, optimizer, batch)
    second.load_state_dict({key: value.clone() for key, value in first.state_dict().items()})

    for batch in (after, last):
        assert step(first, sgd(first), batch) == step(second, sgd(second), batch)
    assert all(torch.equal(value, second.state_dict()[key]) for key, value in first.state_dict().items())


@every_method
def test_its_parts_are_described_and_heads_are_rebuilt(name: str) -> None:
    method = build(name)
    about = method.describe(configured(name))

    assert about["name"] == name
    assert about["remedies"]
    assert method.get_submodule(about["parts"]["backbone"]["module"]) is method.exported
    for part in ("projector", "predictor"):
        if part in about["parts"]:
            head = method.get_submodule(about["parts"][part]["module"])
            again = build_head(about["parts"][part]["layers"])
            again.load_state_dict(head.state_dict())
            x = torch.randn(4, about["parts"][part]["layers"][0]["in"])
            assert torch.equal(again.eval()(x), head.eval()(x))


# --- through a run


@pytest.fixture(scope="module")
def few(labels: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The first eight of the sixteen, so that an epoch has two steps, and their labels."""
    folder = tmp_path_factory.mktemp("few")
    file = folder / "labels.csv"
    file.write_text("\n".join(labels.read_text().splitlines()[: 1 + 8]) + "\n")
    return write_images(folder / "photos", 8), file


def run_settings(name: str, labels: Path) -> dict[str, Any]:
    """The method's name, and labels if it learns from any."""
    return {"method.name": name, **({"data.labels": str(labels)} if METHODS[name].section.labeled else {})}


LAYOUTS: dict[str, dict[str, Any]] = {
    "whole": {"views.kind": "whole"},
    "blocks": {"views.kind": "blocks"},
    "both": {"views.kind": "both", "views.grid": [1, 2]},
    "two groups": {"views.kind": "groups", "views.groups": [{"scale": [0.3, 1.0]}, {"size": 8, "count": 4}]},
}


# A checkpoint holds the state of a method, and none of the views, which are a function of the step: every method
# with the views that ask most of it, and the other views with a method that has a queue or one that has none.
@pytest.mark.parametrize(
    ("name", "layout"),
    [*((name, "two groups") for name in METHODS), ("simsiam", "whole"), ("moco", "blocks"), ("simsiam", "both")],
)
def test_a_stopped_run_resumes_to_the_bit(name: str, layout: str, few: tuple[Path, Path], tmp_path: Path) -> None:
    """Stopped in the first epoch of two or at its end."""
    photos, labels = few
    settings = {**run_settings(name, labels), **LAYOUTS[layout]}
    whole = train_tiny(photos, tmp_path / "whole", backbone=Interrupting(999), settings=settings)
    with pytest.raises(KeyboardInterrupt):
        train_tiny(photos, tmp_path / "run", backbone=Interrupting(1), settings=settings)
    stopped = [file.stem for file in (tmp_path / "run" / "checkpoints").glob("step-*.json")]
    assert stopped in (["step-000000001"], ["step-000000002"])  # two for a method with one pass a step
    run = train_tiny(None, tmp_path / "run", backbone=Interrupting(999), resume=True)

    for file in ("backbone.safetensors", "checkpoints/step-000000004.safetensors", "checkpoints/step-000000004.json"):
        assert (run.path / file).read_bytes() == (whole.path / file).read_bytes(), file


@every_method
def test_its_backbone_is_measured_and_exported(name: str, few: tuple[Path, Path], tmp_path: Path) -> None:
    photos, labels = few
    settings = run_settings(name, labels)
    named: dict[str, Any] = {"backbone": "timm/test_resnet", "view_size": 32, "epochs": None, "steps": 1}
    run = train_tiny(photos, tmp_path / "run", settings=settings, health=True, **named)
    backbone = manyview.load_backbone(run)
    assert backbone.name == "timm/test_resnet"
    checkpoint = load_file(str(run.path / "checkpoints" / "step-000000001.safetensors"))
    for key, value in backbone.state_dict().items():
        assert torch.equal(value, checkpoint[f"model.{METHODS[name].parts['backbone']}.{key}"])
    result = run.read_json("health.json")
    assert ("projections" in result["results"]["pretrained"]) == ("projector" in METHODS[name].parts)
    done = export_backbone(backbone, to="timm", out=tmp_path / "test_resnet.pth")
    assert done.check.matched == done.check.total > 0
