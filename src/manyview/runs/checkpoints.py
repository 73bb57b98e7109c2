"""Checkpoints: tensors in safetensors, everything else in JSON with a checksum over both.

A checkpoint exists from the moment its JSON does, which is renamed into place after the tensors are on the disk. So a
crash at any point leaves the older checkpoints intact, and a damaged file is told by its checksum. Nothing in a
checkpoint can execute code.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from manyview.errors import UserError
from manyview.runs.files import atomic_write, write_error, write_tensors

# Names of tensors: "model." and a name of the state_dict; "momentum." or "optimizer.KEY." and a parameter's name.
_MODEL, _MOMENTUM, _OPTIMIZER = "model.", "momentum.", "optimizer."


@dataclass(frozen=True)
class TrainingCheckpoint:
    """The state of training after a number of optimizer steps.

    Attributes:
        step: optimizer steps done.
        healthy: whether nothing spoke of collapse when it was written.
        state: plain data beside the tensors.
        tensors: by name, on the CPU.
    """

    step: int
    healthy: bool
    state: dict[str, Any]
    tensors: dict[str, Tensor]


class CheckpointStore:
    """The folder of one run's checkpoints: the newest, the one before it, and the newest healthy one."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def save(self, checkpoint: TrainingCheckpoint) -> Path:
        """Write a checkpoint atomically and remove those no longer needed.

        Raises:
            UserError: it cannot be written; the older checkpoints are untouched.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise write_error(self.folder, error) from error
        tensors, description = self._paths(checkpoint.step)
        # A description that still stood for older tensors of the same step would vouch for the wrong bytes.
        description.unlink(missing_ok=True)
        write_tensors(tensors, checkpoint.tensors)
        content = {"step": checkpoint.step, "healthy": checkpoint.healthy, "state": checkpoint.state}
        atomic_write(description, json.dumps({**content, "sha256": _sha256(tensors, content)}, indent=1))
        self._remove_superseded(checkpoint.step)
        return tensors

    def load_newest(self) -> tuple[TrainingCheckpoint | None, list[str]]:
        """The newest checkpoint that is whole.

        Returns:
            the checkpoint, or None where there is none at all, and a sentence for each damaged one passed over.

        Raises:
            UserError: there are checkpoints, but all of them are damaged.
        """
        complaints: list[str] = []
        for description in reversed(self._descriptions()):
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
            content = json.loads(description.read_text())
            expected = content.pop("sha256")
            step, healthy, state = content["step"], content["healthy"], content["state"]
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise _DamagedError("its description cannot be read") from error
        if not tensors.is_file():
            raise _DamagedError("its tensors are missing")
        if _sha256(tensors, content) != expected:
            raise _DamagedError("its checksum differs")
        return TrainingCheckpoint(step, healthy, state, load_file(str(tensors)))

    def _descriptions(self) -> list[Path]:
        return sorted(self.folder.glob("step-*.json"))

    def _paths(self, step: int) -> tuple[Path, Path]:
        return self.folder / f"step-{step:09d}.safetensors", self.folder / f"step-{step:09d}.json"

    def _remove_superseded(self, newest: int) -> None:
        # Those of later steps are damaged, or the run would have been taken up from them.
        limit = self._paths(newest)[1]
        descriptions = [description for description in self._descriptions() if description <= limit]
        keep = set(descriptions[-2:])
        for description in reversed(descriptions):
            try:
                healthy = json.loads(description.read_text())["healthy"]
            except (ValueError, KeyError, TypeError):
                continue
            if healthy:
                keep.add(description)
                break
        for description in set(self._descriptions()) - keep:
            description.unlink()
        kept = {description.stem for description in keep}
        for leftover in self.folder.iterdir():
            if leftover.is_file() and leftover.stem not in kept:
                leftover.unlink()


class _DamagedError(Exception):
    """Why a checkpoint cannot be used."""


def _sha256(tensors: Path, content: dict[str, Any]) -> str:
    """Checksum of the tensors' file and of what the description says."""
    with tensors.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256")
    digest.update(json.dumps(content, sort_keys=True).encode())
    return digest.hexdigest()


def capture(
    method: nn.Module, optimizer: torch.optim.Optimizer, step: int, healthy: bool, state: dict[str, Any]
) -> TrainingCheckpoint:
    """Everything that the rest of the run depends on; random draws are functions of the step and need no state.

    Args:
        method: whose ``state_dict`` is kept.
        optimizer: all that it keeps of each parameter is kept, under whatever name; its rates follow from the step.
        step: optimizer steps done.
        healthy: whether nothing speaks of collapse.
        state: plain data to keep beside.

    Raises:
        UserError: a parameter is not finite; such a state is never written over a good one.
    """
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
    """Put a checkpoint's tensors back; memory formats stay those of the module, as results depend on them.

    Raises:
        UserError: they are another network's or another optimizer's.
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
    """What precedes a parameter's name where the optimizer's state of that key is kept."""
    return _MOMENTUM if key == "momentum_buffer" else f"{_OPTIMIZER}{key}."


def _whose(name: str) -> tuple[str, str]:
    """The optimizer's key and the parameter's name of a tensor."""
    if name.startswith(_MOMENTUM):
        return "momentum_buffer", name.removeprefix(_MOMENTUM)
    key, _, parameter = name.removeprefix(_OPTIMIZER).partition(".")
    return key, parameter


def _like(parameter: Tensor, key: str, value: Tensor) -> Tensor:
    """On the parameter's device and in its memory format; but a count of steps stays on the CPU, as PyTorch has it."""
    if key == "step":
        return value
    return torch.empty_like(parameter, dtype=value.dtype).copy_(value).detach()


def _copy(value: Tensor) -> Tensor:
    return value.detach().to("cpu", copy=True).contiguous()
