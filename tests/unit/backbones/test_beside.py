"""Which baselines stand beside weights: where a run began, random initialization, or other weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from manyview.backbones import build_backbone, load_backbone, save_backbone
from manyview.backbones.beside import find_baselines
from manyview.backbones.build import untrained
from manyview.errors import UserError
from manyview.runs import sha256
from tests.helpers.narrow import narrowed
from tests.helpers.random_weights import save_random


def write_run(folder: Path, init: Path | None = None, **options: Any) -> Path:
    """What is read of a run: its weights, configuration and record."""
    save_random(folder / "backbone.safetensors", seed=1, **options)
    record = {} if init is None else {"init": {"file": str(init), "sha256": sha256(init)}}
    (folder / "config.json").write_text(json.dumps({"backbone": {"init": None if init is None else str(init)}}))
    (folder / "run.json").write_text(json.dumps(record))
    return folder


def shown(*given: Any) -> list[tuple[str, Path | None]]:
    return [(each.name, each.weights) for each in find_baselines(*given)]


def test_the_usual_baseline_is_where_the_weights_began(tmp_path: Path) -> None:
    init = save_random(tmp_path / "init.safetensors")
    from_init, from_random = write_run(tmp_path / "a", init), write_run(tmp_path / "b")
    assert shown(from_init, None) == shown(from_init / "backbone.safetensors", None) == [("initial", init)]
    assert shown(save_random(from_init / "best.safetensors"), None) == [("initial", init)]
    assert shown(from_random, None) == [("random_init", None)]
    assert shown(init, None) == [("random_init", None)]
    assert [find_baselines(each, None)[0].why for each in (from_init, from_random, init)] == [
        "where the run began",
        "where the run began",
        "as nothing says how these weights began",
    ]


def test_what_is_asked_for_in_its_order(tmp_path: Path) -> None:
    init, other = save_random(tmp_path / "init.safetensors"), save_random(tmp_path / "b.pth.safetensors")
    run = write_run(tmp_path / "a", init)
    asked = [other, "random", "initial", write_run(tmp_path / "c")]
    assert shown(run, asked) == [
        ("b.pth", other),
        ("random_init", None),
        ("initial", init),
        ("c", tmp_path / "c"),
    ]
    assert shown(run, "random") == [("random_init", None)]
    assert shown(run, "none") == shown(run, ["none"]) == shown(run, ()) == []
    assert shown("random", None) == []


def test_names_are_distinct_and_never_those_of_results(tmp_path: Path) -> None:
    paths = [
        save_random(tmp_path / "x" / "weights.safetensors"),
        save_random(tmp_path / "y" / "weights.safetensors"),
        write_run(tmp_path / "y" / "initial"),
        save_random(tmp_path / "pretrained.safetensors"),
    ]
    names = [name for name, _ in shown(paths[0], paths)]
    assert names == ["x-weights", "y-weights", "y-initial", f"{tmp_path.name}-pretrained"]


def test_files_of_one_run_and_files_that_differ_in_their_endings_have_names(tmp_path: Path) -> None:
    run = write_run(tmp_path / "a")
    best = save_random(run / "best.safetensors")
    assert [name for name, _ in shown(run, best)] == ["a"]
    assert [name for name, _ in shown(run, [run, best])] == ["a", "best.safetensors"]
    one, other = save_random(tmp_path / "w.safetensors"), tmp_path / "w.pth"
    torch.save(load_backbone(one).state_dict(), other)
    assert [name for name, _ in shown(run, [one, other])] == ["w.safetensors", "w.pth"]


def test_initial_weights_that_are_gone_or_changed_are_refused(tmp_path: Path) -> None:
    init = save_random(tmp_path / "init.safetensors")
    run = write_run(tmp_path / "a", init)
    save_random(init, seed=5)
    for asked in (None, "initial"):
        with pytest.raises(
            UserError, match=r"a began from the weights in .*init\.safetensors, which has changed since; "
        ):
            find_baselines(run, asked)
    init.unlink()
    with pytest.raises(UserError, match=r"init\.safetensors, which is gone .*name another file .*--beside random"):
        find_baselines(run, None)
    assert shown(run, "random") == [("random_init", None)]
    (run / "run.json").unlink()
    with pytest.raises(UserError, match=r"of which run\.json has the checksum: .* cannot be read"):
        find_baselines(run, None)


def test_a_runs_own_copy_stands_for_initial_weights_that_are_gone(tmp_path: Path) -> None:
    init = save_random(tmp_path / "init.safetensors")
    run = write_run(tmp_path / "a", init)
    copy = save_random(run / "initial.safetensors")
    assert shown(run, None) == [("initial", init)]
    save_random(init, seed=5)
    assert shown(run, None) == [("initial", copy)]
    init.unlink()
    assert shown(run, "initial") == [("initial", copy)]


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (["initial"], "is not of a run, whose folder would say which weights it began with"),
        (["none", "random"], "none leaves out all baselines: give it alone"),
        (["random", "random"], "--beside random is given twice"),
        (["nowhere.pth"], r"--beside nowhere\.pth: there is no such file or folder"),
    ],
)
def test_mistakes(tmp_path: Path, asked: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        find_baselines(save_random(tmp_path / "w.safetensors"), asked)


def test_a_run_from_random_weights_has_no_initial_ones(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"began from random weights.*--beside random shows those"):
        find_baselines(write_run(tmp_path / "a"), "initial")


def test_one_file_in_two_spellings_is_given_twice(tmp_path: Path) -> None:
    file = save_random(tmp_path / "w.safetensors")
    with pytest.raises(UserError, match="two of the files are the same"):
        find_baselines(file, [file, tmp_path / "." / "x" / ".." / "w.safetensors"])
    run = write_run(tmp_path / "a")
    with pytest.raises(UserError, match=r"two of the files are the same .*a/backbone\.safetensors"):
        find_baselines(file, [run, run / "backbone.safetensors"])


@narrowed(4)
def test_networks_of_baselines(tmp_path: Path) -> None:
    evaluated = load_backbone(save_random(tmp_path / "w.safetensors", "resnet18", zero_init_residual=False))
    evaluated.take_images((0.1, 0.2, 0.3), (0.4, 0.5, 0.6), rgb=True)
    random, other = find_baselines(
        tmp_path / "w.safetensors", ["random", save_random(tmp_path / "o.safetensors", "timm/resnet10t", seed=4)]
    )
    drawn, expected = random.build(evaluated, 3), untrained(evaluated, 3)
    assert all(torch.equal(value, expected.state_dict()[name]) for name, value in drawn.state_dict().items())
    assert drawn.mean == (0.1, 0.2, 0.3)
    assert drawn.layer1[0].bn2.weight.eq(1).all()  # as the weights record that they began
    assert random.describe(drawn, 3) == {
        "why": "asked for",
        "backbone": "resnet18",
        "weights": "random: as pre-training started: the last norm of each residual branch at one, as every other",
        "seed": 3,
    }
    loaded = other.build(evaluated, 3)
    assert (loaded.name, loaded.mean) == ("timm/resnet10t", (0.485, 0.456, 0.406))
    assert other.describe(loaded, 3)["weights_sha256"] == sha256(tmp_path / "o.safetensors")


def test_a_network_for_other_images_is_refused(tmp_path: Path) -> None:
    evaluated = load_backbone(save_random(tmp_path / "w.safetensors"))
    (other,) = find_baselines(tmp_path / "w.safetensors", save_random(tmp_path / "bands.safetensors", in_channels=4))
    with pytest.raises(UserError, match=r"is for images of 4 bands, but .* images of RGB channels"):
        other.build(evaluated, 0)


@pytest.mark.parametrize("bands", [3, 4])
@narrowed(4)
def test_initial_weights_that_do_not_say_for_which_bands_they_are(tmp_path: Path, bands: int) -> None:
    init = tmp_path / "init.pth"
    network = build_backbone("resnet18", in_channels=bands)
    torch.save(network.state_dict(), init)
    run = write_run(tmp_path / "a", init)
    network.take_images((0.1,) * bands, (0.2,) * bands, rgb=False)
    save_backbone(network, run / "backbone.safetensors", {})
    (initial,) = find_baselines(run, None)
    built = initial.build(load_backbone(run), 0)
    assert (built.in_channels, built.rgb) == (bands, False)
    assert (built.mean, built.std) == ((0.1,) * bands, (0.2,) * bands)
    assert torch.equal(built.state_dict()["conv1.weight"], network.state_dict()["conv1.weight"])


@narrowed(4)
def test_weights_for_bands_keep_what_the_card_of_their_export_records(tmp_path: Path) -> None:
    evaluated = load_backbone(save_random(tmp_path / "w.safetensors", "resnet18", in_channels=4))
    other = tmp_path / "other.pth"
    torch.save(build_backbone("resnet18", in_channels=4).state_dict(), other)
    card = {
        "sha256": {other.name: sha256(other)},
        "backbone": {"name": "resnet18", "in_channels": 4},
        "images": {"channels": "bands", "mean": [0.1] * 4, "std": [0.2] * 4},
    }
    (tmp_path / "other.pth.json").write_text(json.dumps(card))
    (baseline,) = find_baselines(tmp_path / "w.safetensors", other)
    assert baseline.build(evaluated, 0).mean == (0.1,) * 4


@narrowed(4)
def test_weights_for_bands_beside_weights_for_color_are_refused_also_without_a_record(tmp_path: Path) -> None:
    evaluated = load_backbone(save_random(tmp_path / "w.safetensors", "resnet18"))
    other = tmp_path / "bands.pth"
    torch.save(build_backbone("resnet18", in_channels=4).state_dict(), other)
    (baseline,) = find_baselines(tmp_path / "w.safetensors", other)
    with pytest.raises(UserError, match="is for images of 4 bands, but"):
        baseline.build(evaluated, 0)
