"""The written weights of a resumed run: compared with its checkpoint, and written again where they are not its own."""

from __future__ import annotations

from pathlib import Path

from manyview.backbones import Backbone
from manyview.backbones.files import read_tensors
from manyview.backbones.weights import own_weights
from manyview.errors import UserError
from manyview.runs.folder import BEST_FILE
from manyview.training.loop import Training


def mend_weights(training: Training) -> None:
    """Write ``backbone.safetensors`` again if it is lost, damaged or of another step, and report ``best.safetensors``.

    Called in the main process, after the checkpoint was restored. The best weights of an earlier step are in no
    checkpoint, so that they cannot be written again.
    """
    file = training.folder.weights
    fault = weights_fault(file, training.protection.written_backbone())
    if fault:
        training.save_weights()
        training.display.say(f"Warning: {file} {fault}: written again from the checkpoint.", style="yellow")
    best = training.quality.best if training.quality else None
    if best is not None and best["step"] < training.step:
        kept = training.folder.path / BEST_FILE
        if fault := _unreadable(kept):
            training.display.say(
                f"Warning: {kept} {fault}, and no checkpoint holds the best weights so far, those of step "
                f"{best['step']:,}; the last weights, in {file.name}, are intact.",
                style="yellow",
            )


def weights_fault(file: Path, backbone: Backbone) -> str:
    """What is wrong with a file of weights that should hold a backbone's; "" if nothing is."""
    if fault := _unreadable(file):
        return fault
    found, own = read_tensors(file).tensors, own_weights(backbone)
    same = found.keys() == own.keys() and all(bool((found[name] == own[name]).all()) for name in own)
    return "" if same else "does not hold the weights of the checkpoint"


def _unreadable(file: Path) -> str:
    """Why a file of weights cannot be read; "" if it can."""
    if not file.is_file():
        return "is missing"
    try:
        read_tensors(file)
    except UserError:
        return "is damaged"
    return ""
