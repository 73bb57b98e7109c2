"""Training checkpoints: tensors in safetensors, everything else in JSON with a checksum over both.

The JSON is renamed into place after the tensors are on disk, and only then does the checkpoint exist. So a crash at any
point leaves the older checkpoints intact, and the checksum detects a damaged file. Nothing in a checkpoint can execute
code.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from manyview.errors import UserError
from manyview.parsing import parse_json
from manyview.runs.files import atomic_write, write_error, write_tensors
from manyview.runs.record import COPY_FILE

if TYPE_CHECKING:  # a mistake in a setting is reported without the import of PyTorch
    import torch
    from torch import Tensor, nn

_FILE = re.compile(r"step-\d+\.(json|safetensors)|\.step-\d+\.(json|safetensors)\.\d+\.tmp")  # or a killed write's
# Names of tensors: "model." and a name of the state_dict; "momentum." or "optimizer.KEY." and a parameter's name.
_MODEL, _MOMENTUM, _OPTIMIZER = "model.", "momentum.", "optimizer."


@dataclass(frozen=True)
class TrainingCheckpoint:
    """The state of training after a number of optimizer steps.

    Attributes:
        step: optimizer steps done.
        healthy: whether the collapse monitor was healthy when it was written.
        state: plain data beside the tensors.
        tensors: by name, on the CPU.
    """

    step: int
    healthy: bool
    state: dict[str, Any]
    tensors: dict[str, Tensor]


class CheckpointStore:
    """Folder of one run's checkpoints, which keeps the newest, the one before it, and the newest healthy one."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def save(self, checkpoint: TrainingCheckpoint) -> Path:
        """Write a checkpoint atomically and remove superseded ones.

        Raises:
            UserError: it cannot be written; the older checkpoints are untouched.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise write_error(self.folder, error) from error
        tensors, description = self._paths(checkpoint.step)
        # An old JSON file of the same step would describe the wrong tensors if a crash left it beside the new ones.
        description.unlink(missing_ok=True)
        write_tensors(tensors, checkpoint.tensors, sealed=False)  # the description has a checksum of both
        content = {"step": checkpoint.step, "healthy": checkpoint.healthy, "state": checkpoint.state}
        atomic_write(description, json.dumps({**content, "sha256": _sha256(tensors, content)}, indent=1))
        self._remove_superseded(checkpoint.step)
        return tensors

    def load_newest(self) -> tuple[TrainingCheckpoint | None, list[str]]:
        """Load the newest intact checkpoint.

        Returns:
            the checkpoint, or None if there is none at all, and a sentence for each damaged one that was skipped.

        Raises:
            UserError: there are checkpoints, but all of them are damaged.
        """
        complaints: list[str] = []
        for description in reversed(self.descriptions()):
            try:
                return self._read(description), complaints
            except _DamagedError as damage:
                complaints.append(f"checkpoint {description.with_suffix('.safetensors')} is damaged ({damage})")
        if complaints:
            raise UserError("no usable checkpoint is left: " + "; ".join(complaints) + "; start a new run")
        return None, complaints

    def _read(self, description: Path) -> TrainingCheckpoint:
        from safetensors.torch import load_file

        tensors = description.with_suffix(".safetensors")
        try:
            content = parse_json(description.read_text())
            expected = content.pop("sha256")
            step, healthy, state = content["step"], content["healthy"], content["state"]
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise _DamagedError("its description cannot be read") from error
        if not tensors.is_file():
            raise _DamagedError("its tensors are missing")
        if _sha256(tensors, content) != expected:
            raise _DamagedError("its checksum differs")
        return TrainingCheckpoint(step, healthy, state, load_file(str(tensors)))

    def descriptions(self) -> list[Path]:
        """The JSON files of the checkpoints, intact or not, from the oldest to the newest."""
        return [file for file in self._files() if file.suffix == ".json"]

    def remove(self) -> None:
        """Delete all checkpoints and the copy of the run's record, and the folder if nothing else is in it."""
        for file in (*self._files(), self.folder / COPY_FILE):
            file.unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # there is none, or others' files are in it
            self.folder.rmdir()

    def _files(self) -> list[Path]:
        """The files of checkpoints, by name; a user's files beside them are none."""
        return sorted(file for file in self.folder.glob("*step-*") if _FILE.fullmatch(file.name))

    def _paths(self, step: int) -> tuple[Path, Path]:
        return self.folder / f"step-{step:09d}.safetensors", self.folder / f"step-{step:09d}.json"

    def _remove_superseded(self, newest: int) -> None:
        # Later ones are damaged, or the run would have been resumed from them.
        limit = self._paths(newest)[1]
        descriptions = [description for description in self.descriptions() if description <= limit]
        keep = set(descriptions[-2:])
        for description in reversed(descriptions):
            try:
                healthy = parse_json(description.read_text())["healthy"]
            except (ValueError, KeyError, TypeError):
                continue
            if healthy:
                keep.add(description)
                break
        for description in set(self.descriptions()) - keep:
            description.unlink()
        kept = {description.stem for description in keep}
        for leftover in self._files():
            if leftover.stem not in kept:
                leftover.unlink()


class _DamagedError(Exception):
    """A checkpoint that cannot be used; the message says why."""


def _sha256(tensors: Path, content: dict[str, Any]) -> str:
    """Checksum over the tensor file and the content of the JSON file."""
    with tensors.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256")
    digest.update(json.dumps(content, sort_keys=True).encode())
    return digest.hexdigest()


def capture(
    method: nn.Module, optimizer: torch.optim.Optimizer, step: int, healthy: bool, state: dict[str, Any]
) -> TrainingCheckpoint:
    """The complete training state; random draws are functions of the step and need no state.

    Args:
        method: module whose ``state_dict`` is saved.
        optimizer: optimizer whose whole per-parameter state is saved; learning rates follow from the step.
        step: optimizer steps done.
        healthy: whether the collapse monitor is healthy.
        state: plain data to save beside the tensors.

    Raises:
        UserError: a parameter is not finite; such a state never replaces a good one.
    """
    from torch import Tensor

    tensors: dict[str, Tensor] = {}
    for name, value in method.state_dict().items():
        if value.is_floating_point() and not value.isfinite().all():
            raise UserError(f"{name} is not finite after step {step}; the last good checkpoint is kept")
        tensors[_MODEL + name] = _copy(value)
    plain: dict[str, dict[str, Any]] = {}
    for name, parameter in method.named_parameters():
        for key, value in optimizer.state.get(parameter, {}).items():
            if isinstance(value, Tensor):
                tensors[_prefix(key) + name] = _copy(value)
            elif value is not None:
                plain.setdefault(name, {})[key] = value
    return TrainingCheckpoint(step, healthy, {**state, "optimizer": plain} if plain else state, tensors)


def restore(checkpoint: TrainingCheckpoint, method: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Load a checkpoint's tensors; memory formats stay those of the module, as results depend on them.

    Raises:
        UserError: they do not fit the network.
    """
    model = {name.removeprefix(_MODEL): value for name, value in checkpoint.tensors.items() if name.startswith(_MODEL)}
    try:
        method.load_state_dict(model)
    except RuntimeError as error:
        raise UserError(f"the checkpoint does not fit this run's network: {error}") from error
    parameters = dict(method.named_parameters())
    for name, value in checkpoint.tensors.items():
        if not name.startswith(_MODEL):
            key, parameter = _whose(name)
            optimizer.state[parameters[parameter]][key] = _like(parameters[parameter], key, value)
    for parameter, values in checkpoint.state.get("optimizer", {}).items():
        optimizer.state[parameters[parameter]].update(values)


def _prefix(key: str) -> str:
    """Prefix of the names of tensors that hold the optimizer's state of that key."""
    return _MOMENTUM if key == "momentum_buffer" else f"{_OPTIMIZER}{key}."


def _whose(name: str) -> tuple[str, str]:
    """Optimizer key and parameter name of a saved tensor."""
    if name.startswith(_MOMENTUM):
        return "momentum_buffer", name.removeprefix(_MOMENTUM)
    key, _, parameter = name.removeprefix(_OPTIMIZER).partition(".")
    return key, parameter


def _like(parameter: Tensor, key: str, value: Tensor) -> Tensor:
    """Move to the parameter's device and memory format; a step count stays on the CPU, as in PyTorch."""
    if key == "step":
        return value
    import torch

    return torch.empty_like(parameter, dtype=value.dtype).copy_(value).detach()


def _copy(value: Tensor) -> Tensor:
    return value.detach().to("cpu", copy=True).contiguous()
