"""The state of a run as named tensors and plain data, and back, to the bit."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from manyview.errors import UserError
from manyview.runs.checkpoints import Checkpoint

_MODEL, _MOMENTUM = "model.", "momentum."


def capture(
    method: nn.Module, optimizer: torch.optim.Optimizer, step: int, healthy: bool, state: dict[str, Any]
) -> Checkpoint:
    """Everything that the rest of the run depends on; random draws are functions of the step and need no state.

    Raises:
        UserError: a parameter is not finite; such a state is never written over a good one.
    """
    tensors: dict[str, Tensor] = {}
    for name, value in method.state_dict().items():
        if value.is_floating_point() and not value.isfinite().all():
            raise UserError(f"{name} is not finite after step {step}; the last good checkpoint is kept")
        tensors[_MODEL + name] = _copy(value)
    for name, parameter in method.named_parameters():
        momentum = optimizer.state.get(parameter, {}).get("momentum_buffer")
        if momentum is not None:
            tensors[_MOMENTUM + name] = _copy(momentum)
    return Checkpoint(step, healthy, state, tensors)


def restore(checkpoint: Checkpoint, method: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Put a checkpoint's tensors back; memory formats stay those of the module, as results depend on them."""
    model = {name.removeprefix(_MODEL): value for name, value in checkpoint.tensors.items() if name.startswith(_MODEL)}
    try:
        method.load_state_dict(model)
    except RuntimeError as error:
        raise UserError(f"the checkpoint does not fit this run's network: {error}") from error
    for name, parameter in method.named_parameters():
        momentum = checkpoint.tensors.get(_MOMENTUM + name)
        if momentum is not None:
            optimizer.state[parameter]["momentum_buffer"] = torch.empty_like(parameter).copy_(momentum).detach()


def _copy(value: Tensor) -> Tensor:
    return value.detach().to("cpu", copy=True).contiguous()
