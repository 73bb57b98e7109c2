"""The model of communication against numbers by hand, and what is made of measured seconds."""

from __future__ import annotations

import pytest

from benchmarks.training import communication
from benchmarks.training.communication import STEP, WAYS, markdown, modelled, summary
from manyview import distributed
from manyview.distributed import group

SENT = {
    "buffers": {"bytes": 1.0, "calls": 1},
    "embeddings": {"bytes": 1e6, "calls": 8},
    "gradients": {"bytes": 4e9, "calls": 6},
    "statistics of norms": {"bytes": 2e6, "calls": 200},
}


def test_the_model_is_a_ring() -> None:
    found = modelled(SENT, 5, 1e9, 1e-4)
    assert found["gradients"] == pytest.approx(2 * 4 / 5 * 4)
    assert found["statistics"] == pytest.approx(200e-4 + 4 * 2e-3)
    assert found["embeddings"] == pytest.approx(8e-4 + 4 * 32 * 1e-3)
    exposed = found["gradients"] - 2 / 3 * STEP + found["statistics"] + found["embeddings"]
    assert found["exposed"] == pytest.approx(exposed)
    assert found["efficiency"] == pytest.approx(STEP / (STEP + exposed))
    assert modelled({**SENT, "gradients": {"bytes": 1.0, "calls": 1}}, 5, 1e9, 0)["exposed"] == pytest.approx(0.136)


def test_ratios_are_taken_within_a_round() -> None:
    seconds = {way: [1.0, 10.0, 3.0] for way in WAYS} | {"two together": [2.0, 20.0, 3.0]}
    found = summary({"seconds": seconds, "sent": SENT})
    assert found["speedup"] == {"median": 0.5, "lowest": 0.5, "highest": 1.0}
    assert found["communication_share"] == {"median": 0.5, "lowest": 0.0, "highest": 0.5}
    text = markdown(found)
    assert "| share of communication in a step | 0.50 | 0.00 | 0.50 |" in text
    assert "| gradients | 4000.00 | 6 |" in text
    assert all(name in text for name in communication.PAPER)


def test_strangers_do_not_know_of_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(group, "initialized", lambda: True)
    monkeypatch.setattr("torch.distributed.get_world_size", lambda: 2)
    assert distributed.world_size() == 2
    with communication.strangers():
        assert distributed.world_size() == 1
    assert distributed.world_size() == 2
