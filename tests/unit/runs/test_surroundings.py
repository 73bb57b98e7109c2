"""What decides the last bits: recorded, set again, refused or reported."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from manyview.errors import UserError
from manyview.runs import provenance
from manyview.runs.environment import check_threads, environment, recorded_threads, restore_threads
from manyview.runs.provenance import changed_surroundings


@pytest.fixture(autouse=True)
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def test_the_number_of_threads_is_recorded_and_set_again() -> None:
    torch.set_num_threads(3)
    started = provenance()
    assert recorded_threads(started) == 3
    torch.set_num_threads(1)
    assert changed_surroundings(started)
    restore_threads(started)
    assert torch.get_num_threads() == 3
    assert changed_surroundings(started) == ""


@pytest.mark.parametrize("noted", [{}, {"environment": None}, {"environment": {"threads": "4"}}, {"environment": {}}])
def test_earlier_versions_recorded_none(noted: dict[str, object]) -> None:
    before = torch.get_num_threads()
    restore_threads(noted)
    assert torch.get_num_threads() == before


def test_a_limit_below_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_THREAD_LIMIT", "2")
    check_threads(2)
    with pytest.raises(UserError, match=r"OMP_THREAD_LIMIT=2 in the environment allows no more than 2"):
        restore_threads({"environment": {"threads": 4}})


def test_other_versions_and_instructions_are_one_sentence() -> None:
    started = provenance()
    started["versions"]["torch"] = "1.0"
    started["environment"]["instructions"] = "NEON"
    sentence = changed_surroundings(started)
    assert 'torch was "1.0", now "' in sentence
    assert f'instructions was "NEON", now "{torch.backends.cpu.get_cpu_capability()}"' in sentence
    assert sentence.endswith("the last bits of the results may differ from an undisturbed run's.")


def test_a_switch_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    started = {"environment": environment()}
    monkeypatch.setenv("MKL_CBWR", "COMPATIBLE")
    assert "variables.MKL_CBWR was null, now" in changed_surroundings(started)
