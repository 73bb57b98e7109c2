from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from benchmarks.evaluation.curves import main
from manyview.backbones.files import FORMAT
from manyview.errors import UserError


def evaluation(folder: Path, name: str, mAP: float, *, steps: int | None, random: float | None = None) -> Path:  # noqa: N803
    """The files of an evaluation, and of the run that it measured, that are read."""
    run, out = folder / "runs" / name, folder / name
    run.mkdir(parents=True)
    out.mkdir()
    if steps is not None:
        (run / "config.json").write_text("{}")
        # It ended before its plan did.
        (run / "run.json").write_text(json.dumps({"plan": {"steps": 2 * steps, "views_per_step": 8}}))
        save_file({"a": torch.zeros(1)}, run / "backbone.safetensors", {"step": str(steps), "format": FORMAT})
    results = {"pretrained": {"mAP": mAP}, **({"random_init": {"mAP": random}} if random is not None else {})}
    protocol = {"weights": str(run / "backbone.safetensors")}
    (out / "metrics.json").write_text(json.dumps({"protocol": protocol, "results": results}))
    return out


def test_the_figures_are_those_of_the_evaluations_at_the_views_of_their_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    long = [evaluation(tmp_path, f"long-{seed}", 0.25 + seed / 100, steps=1000, random=0.18) for seed in (0, 1)]
    short = evaluation(tmp_path, "short", 0.21, steps=10, random=0.20)
    other = evaluation(tmp_path, "other", 0.19, steps=1000)
    level = evaluation(tmp_path, "level", 0.5, steps=None)

    main(
        [
            *(f"recommended={long[0]},{long[1]},{short}", f"simsiam={other}"),
            *("--level", f"ImageNet={level}", "--out", str(tmp_path / "curves")),
        ]
    )

    lines = capsys.readouterr().out.splitlines()
    assert "| random init | 0 | 18.7 |" in lines
    assert "| `recommended` | 80 | 21.0 |" in lines
    assert "| `recommended` | 8,000 | 25.0, 26.0 |" in lines
    assert "| `simsiam` | 8,000 | 19.0 |" in lines
    assert "| ImageNet |  | 50.0 |" in lines
    kept = json.loads((tmp_path / "curves" / "curves.json").read_text())
    assert [point["views"] for point in kept["curves"]["recommended"]] == [80, 8000, 8000]
    with Image.open(tmp_path / "curves" / "curves.png") as picture:
        assert len(picture.convert("RGB").getcolors(1 << 20) or []) > 3


def test_weights_without_a_run_are_no_point(tmp_path: Path) -> None:
    lone = evaluation(tmp_path, "lone", 0.5, steps=None)
    with pytest.raises(UserError, match="not a run's: nothing says how many views"):
        main([f"lone={lone}", "--out", str(tmp_path / "curves")])
