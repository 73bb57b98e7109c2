"""Multi-label training: its loss and one step by hand, unknown labels, labels of the views, processes, a run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn

from manyview.backbones import wrap_backbone
from manyview.config import ConfigError, PretrainConfig, parse_assignment, resolve
from manyview.errors import UserError
from manyview.methods import METHODS, MethodBatch
from manyview.methods.supervised import Supervised, known_cross_entropy
from manyview.pooling import pool
from manyview.recipes import recipe_settings
from references import redundancy
from tests.helpers.processes import in_processes, joined
from tests.helpers.tiny import labels, photos, train_tiny

__all__ = ["labels", "photos"]

CLASSES = ("chair", "dog", "plant")
IDS = torch.tensor([4, 0, 2])
NAN = float("nan")
TARGETS = torch.tensor(
    [[1.0, 0.0, 1.0], [NAN, NAN, NAN], [0.0, NAN, 1.0], [1.0, 1.0, 1.0], [NAN, 1.0, 0.0]], dtype=torch.float64
)


def configured(*texts: str) -> PretrainConfig:
    base = {"data": {"images": "photos", "labels": "labels.csv"}, **recipe_settings("supervised")}
    return resolve(base, [parse_assignment(text) for text in texts])


def build(*texts: str) -> Supervised:
    torch.manual_seed(0)
    config = configured('method.classes=["chair", "dog", "plant"]', *texts)
    method = METHODS["supervised"].build(wrap_backbone(nn.Conv2d(3, 6, 3, stride=2), 9), config)
    assert isinstance(method, Supervised)
    method.take_targets(TARGETS)
    return method.double()


def seen(*sizes: tuple[int, int]) -> MethodBatch:
    generator = torch.Generator().manual_seed(1)
    groups = tuple(
        torch.randn(len(IDS), count, 3, size, size, generator=generator, dtype=torch.float64) for count, size in sizes
    )
    return MethodBatch(groups, IDS, lambda count: torch.arange(count))


def logits_of(method: Supervised, batch: MethodBatch) -> np.ndarray:
    """One view at a time, ordered by group, image and view."""
    weight, bias = (value.detach().numpy() for value in method.classifier.parameters())
    views = torch.cat([group.flatten(0, 1) for group in batch.groups])
    maps = [method.backbone(view[None])[0].detach().numpy() for view in views]
    pooled = [
        view.mean((1, 2)) if method.pooling == "avg" else (view.mean((1, 2)) + view.max((1, 2))) / 2 for view in maps
    ]
    return np.stack(pooled) @ weight.T + bias


@pytest.mark.parametrize("pooling", ["avg", "gamp"])
def test_the_loss_is_the_mean_over_known_labels(pooling: str) -> None:
    method, batch = build(f"method.pool={pooling}"), seen((3, 9))
    targets = np.repeat(TARGETS[IDS].numpy(), 3, axis=0)

    expected = redundancy.known_cross_entropy(logits_of(method, batch), targets)

    result = method(batch)
    assert sorted(result) == ["loss", "z"]
    assert result["loss"].item() == pytest.approx(expected, rel=1e-10)


def test_all_views_of_all_groups_get_their_images_labels() -> None:
    method: Supervised = build()
    views = torch.cat([group.flatten(0, 1) for group in seen((2, 9), (3, 9)).groups])
    weight, bias = method.classifier.parameters()
    logits = pool(method.backbone(views), "avg") @ weight.T + bias
    owners = [4, 4, 0, 0, 2, 2, 4, 4, 4, 0, 0, 0, 2, 2, 2]

    expected = redundancy.known_cross_entropy(logits.detach().numpy(), TARGETS[owners].numpy())

    assert method(seen((2, 9), (3, 9)))["loss"].item() == pytest.approx(expected, rel=1e-10)


def test_a_step_follows_the_numerical_gradient() -> None:
    method, batch = build(), seen((2, 9))
    targets = np.repeat(TARGETS[IDS].numpy(), 2, axis=0)
    method(batch)["loss"].backward()
    weight = next(method.classifier.parameters())
    start, small = weight.detach().clone(), 1e-6

    def loss_at(values: Tensor) -> float:
        with torch.no_grad():
            weight.copy_(values)
        return redundancy.known_cross_entropy(logits_of(method, batch), targets)

    assert weight.grad is not None
    for row, column in ((0, 0), (1, 3), (2, 5)):
        change = torch.zeros_like(start)
        change[row, column] = small
        numerical = (loss_at(start + change) - loss_at(start - change)) / (2 * small)
        assert weight.grad[row, column].item() == pytest.approx(numerical, rel=1e-6)


def test_unknown_labels_have_no_influence() -> None:
    logits = torch.randn(4, 3, generator=torch.Generator().manual_seed(0), requires_grad=True)
    targets = torch.tensor([[1.0, NAN, 0.0]] * 4)
    known_cross_entropy(logits, targets).backward()
    assert logits.grad is not None
    assert (logits.grad[:, 1] == 0).all()
    assert (logits.grad[:, [0, 2]] != 0).all()
    nothing = known_cross_entropy(logits, torch.full((4, 3), NAN))
    nothing.backward()
    assert nothing.item() == 0
    assert logits.grad.isfinite().all()


def test_z_tells_dead_features_from_those_of_a_sound_network() -> None:
    """Features that are never negative share a direction, which is no collapse; constant ones are one."""
    from manyview.measures import collapse_std

    method, batch = build(), seen((2, 9))
    weight, bias = method.backbone.parameters()
    nn.init.constant_(bias, 10.0)
    assert collapse_std(pool(method.backbone(batch.groups[0].flatten(0, 1)), "avg")) < 0.2
    assert collapse_std(method(batch)["z"]) > 0.8
    nn.init.zeros_(weight)
    assert collapse_std(method(batch)["z"]) < 0.01


# --- several processes, of which one has fewer known labels


def gradients(rank: int, processes: int) -> dict[str, Any]:
    method, batch = build(), seen((2, 9))
    ids = torch.tensor([4, 0, 2, 1])  # the last has no known label
    views = torch.cat([batch.groups[0], batch.groups[0][:1] + 1])
    own = slice(rank * 4 // processes, (rank + 1) * 4 // processes)
    module = nn.parallel.DistributedDataParallel(method) if processes > 1 else method
    loss = module(batch._replace(groups=(views[own],), image_ids=ids[own]))["loss"]
    loss.backward()
    return {"loss": loss.detach(), "gradients": {key: value.grad for key, value in method.named_parameters()}}


def work(rank: int, folder: str) -> None:
    with joined(rank, Path(folder)):
        torch.save(gradients(rank, dist.get_world_size()), Path(folder) / f"{rank}.pt")


def test_two_processes_are_one_with_all_known_labels(tmp_path: Path) -> None:
    in_processes(work, str(tmp_path))
    alone = gradients(0, 1)
    for rank in range(2):
        torch.testing.assert_close(torch.load(tmp_path / f"{rank}.pt"), alone, rtol=1e-10, atol=1e-14)


# --- settings and runs


def test_no_view_is_compared_with_another() -> None:
    config = configured("views.kind=groups", "views.groups=[{count=2},{count=3,size=96}]")
    assert config.method.positives(config.views) == ((0,), (1,), (2,), (3,), (4,))
    assert config.method.pairs(config.views) == 2


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("losses.image_aware.weight=4", "method.name is supervised, which does not read it"),
        ("losses.similarity.stop_gradient=false", "method.name is supervised, which does not read it"),
        ("data.labels=none", r"which learns from labels: name their file in data.labels \(pretrain --labels\)"),
        ("method.pool=max", "method.pool"),
    ],
)
def test_what_it_does_not_read(text: str, sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        configured(text)


def test_a_run_records_its_classes_and_is_resumed_with_moved_labels(
    photos: Path, labels: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = train_tiny(photos, tmp_path / "run", recipe="supervised", labels=labels, quiet=False)
    assert "Labels to learn from: 3 classes (any, even, third), 1.9 per image." in capsys.readouterr().err
    assert run.read_json("config.json")["method"]["classes"] == ["any", "even", "third"]
    about = run.read_json("run.json")
    assert about["method"]["classes"] == ["any", "even", "third"]
    assert about["method"]["parts"]["classifier"]["layers"] == [{"layer": "linear", "in": 16, "out": 3, "bias": True}]
    assert about["asked"]["method"]["classes"] is None

    moved = tmp_path / "moved.csv"
    moved.write_bytes(labels.read_bytes())
    train_tiny(None, tmp_path / "run", resume=True, labels=moved)
    moved.write_text(labels.read_text().replace("even", "odd"))
    with pytest.raises(UserError, match="the labels are not those that"):
        train_tiny(None, tmp_path / "run", resume=True, labels=moved)


def test_it_trains_on_the_images_that_the_labels_name(photos: Path, tmp_path: Path) -> None:
    file = tmp_path / "some.json"
    names = sorted(path.name for path in photos.iterdir())[4:12]
    content: dict[str, Any] = {
        "categories": [{"id": 3, "name": "cat"}, {"id": 1, "name": "dog"}],
        "images": [{"id": number, "file_name": name, "width": 64, "height": 48} for number, name in enumerate(names)],
        "annotations": [
            {"id": number + 1, "image_id": number, "category_id": 1 + 2 * (number % 2), "bbox": [1, 1, 9, 9]}
            for number in range(len(names))
        ],
    }
    file.write_text(json.dumps(content))
    run = train_tiny(photos, tmp_path / "run", recipe="supervised", labels=file, epochs=1)
    assert run.read_json("run.json")["data"]["photographs"] == 8
    assert run.read_json("config.json")["method"]["classes"] == ["dog", "cat"]
