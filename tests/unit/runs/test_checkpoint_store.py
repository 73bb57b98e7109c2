from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from manyview.errors import UserError
from manyview.runs import CheckpointStore, TrainingCheckpoint


def checkpoint(step: int, healthy: bool = True) -> TrainingCheckpoint:
    tensors = {"model.a": torch.full((3, 2), float(step)), "model.b": torch.tensor(step)}
    return TrainingCheckpoint(step, healthy, {"totals": {"loss": 0.1 * step}, "monitor": {"in_a_row": 0}}, tensors)


@pytest.fixture
def store(tmp_path: Path) -> CheckpointStore:
    return CheckpointStore(tmp_path / "checkpoints")


def saved(store: CheckpointStore, *steps: int) -> CheckpointStore:
    for step in steps:
        store.save(checkpoint(step))
    return store


def steps_kept(store: CheckpointStore) -> list[int]:
    names = sorted(path.name for path in store.folder.iterdir())
    steps = sorted({int(name[5:14]) for name in names})
    assert names == sorted(f"step-{step:09d}{end}" for step in steps for end in (".json", ".safetensors"))
    return steps


def newest(store: CheckpointStore, end: str) -> Path:
    return max(store.folder.glob("*" + end))


def test_nothing_saved_yet(store: CheckpointStore) -> None:
    assert store.load_newest() == (None, [])


def test_what_was_saved_comes_back_to_the_bit(store: CheckpointStore) -> None:
    given = checkpoint(7, healthy=False)
    store.save(given)

    loaded, complaints = store.load_newest()

    assert complaints == []
    assert loaded is not None
    assert (loaded.step, loaded.healthy, loaded.state) == (7, False, given.state)
    assert loaded.tensors.keys() == given.tensors.keys()
    for name, value in given.tensors.items():
        assert loaded.tensors[name].dtype == value.dtype
        assert torch.equal(loaded.tensors[name], value)


def test_tensors_are_plain_safetensors(store: CheckpointStore) -> None:
    path = store.save(checkpoint(7))

    assert torch.equal(load_file(str(path))["model.a"], torch.full((3, 2), 7.0))


def test_equal_checkpoints_are_equal_bytes(store: CheckpointStore, tmp_path: Path) -> None:
    first = store.save(checkpoint(7))
    second = CheckpointStore(tmp_path / "other").save(checkpoint(7))

    assert first.read_bytes() == second.read_bytes()
    assert first.with_suffix(".json").read_bytes() == second.with_suffix(".json").read_bytes()


def test_newest_two_are_kept(store: CheckpointStore) -> None:
    assert steps_kept(saved(store, 1, 2, 3, 10)) == [3, 10]


def test_newest_healthy_one_is_kept_too(store: CheckpointStore) -> None:
    saved(store, 1, 2)
    for step in (3, 4, 5):
        store.save(checkpoint(step, healthy=False))

    assert steps_kept(store) == [2, 4, 5]
    assert steps_kept(saved(store, 6)) == [5, 6]


def truncate(store: CheckpointStore) -> None:
    path = newest(store, ".safetensors")
    path.write_bytes(path.read_bytes()[:-3])


def delete_tensors(store: CheckpointStore) -> None:
    newest(store, ".safetensors").unlink()


def empty_tensors(store: CheckpointStore) -> None:
    newest(store, ".safetensors").write_bytes(b"")


def truncate_description(store: CheckpointStore) -> None:
    path = newest(store, ".json")
    path.write_text(path.read_text()[:-9])


def empty_description(store: CheckpointStore) -> None:
    newest(store, ".json").write_text("")


def change_state(store: CheckpointStore) -> None:
    path = newest(store, ".json")
    content = json.loads(path.read_text())
    content["state"]["totals"]["loss"] = 9
    path.write_text(json.dumps(content))


def not_a_description(store: CheckpointStore) -> None:
    newest(store, ".json").write_text("[1, 2]")


DAMAGES = [
    truncate,
    delete_tensors,
    empty_tensors,
    truncate_description,
    empty_description,
    change_state,
    not_a_description,
]


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_newest_falls_back_and_says_so(store: CheckpointStore, damage: Any) -> None:
    saved(store, 1, 2)
    damage(store)

    loaded, complaints = store.load_newest()

    assert loaded is not None
    assert loaded.step == 1
    assert len(complaints) == 1
    assert re.match(r"checkpoint .*step-000000002\.safetensors is damaged \(its .*\)$", complaints[0])


@pytest.mark.parametrize("end", [".safetensors", ".json"])
def test_any_flipped_byte_is_found(store: CheckpointStore, end: str) -> None:
    saved(store, 1, 2)
    path = newest(store, end)
    whole = path.read_bytes()

    for position in range(len(whole)):
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 0x01]) + whole[position + 1 :])
        loaded, complaints = store.load_newest()
        assert loaded is not None
        # Where JSON does not mind, as between two values, the content is whole.
        assert (loaded.step, len(complaints)) in ((1, 1), (2, 0)), position
        if loaded.step == 2:
            assert end == ".json"
            assert loaded.state == checkpoint(2).state
            assert loaded.healthy


@pytest.mark.parametrize("damage", DAMAGES)
def test_all_damaged_is_one_clear_error(store: CheckpointStore, damage: Any) -> None:
    saved(store, 1)
    damage(store)

    with pytest.raises(
        UserError, match=r"^no usable checkpoint is left: checkpoint .* is damaged .*; start a new run$"
    ):
        store.load_newest()


def test_damaged_later_ones_do_not_displace_good_ones(store: CheckpointStore) -> None:
    """After falling back from step 20, the two newest good ones must be kept, not the damaged one."""
    saved(store, 10, 20)
    truncate(store)

    saved(store, 12)

    assert steps_kept(store) == [10, 12]
    truncate(store)
    loaded, _ = store.load_newest()
    assert loaded is not None
    assert loaded.step == 10


def test_saving_a_step_again_replaces_it(store: CheckpointStore) -> None:
    saved(store, 1, 2)
    store.save(TrainingCheckpoint(2, False, {}, {"x": torch.ones(1)}))

    loaded, _ = store.load_newest()

    assert loaded is not None
    assert (loaded.healthy, list(loaded.tensors)) == (False, ["x"])


def test_leftovers_of_killed_writes_are_removed(store: CheckpointStore) -> None:
    saved(store, 1)
    for name in (".step-000000002.safetensors.99.tmp", "step-000000003.safetensors"):
        (store.folder / name).write_bytes(b"half")

    assert steps_kept(saved(store, 4)) == [1, 4]
