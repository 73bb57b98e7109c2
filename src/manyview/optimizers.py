"""PyTorch's optimizers, fused on a CPU, and without the import of its compiler.

Their methods are PyTorch's, without the wrappers that would keep them out of compiled code: each of these imports
``torch._dynamo`` when it is first called, which takes two thirds as long as the import of PyTorch itself. Nothing here
is ever part of compiled code.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from typing import Any

import torch


def _bare(method: Callable[..., Any]) -> Any:
    """A method without its wrappers, as it is called outside of compiled code."""
    return inspect.unwrap(method)


class _Bare(torch.optim.Optimizer):
    """An optimizer whose methods are without wrappers."""

    add_param_group = _bare(torch.optim.Optimizer.add_param_group)
    zero_grad = _bare(torch.optim.Optimizer.zero_grad)
    state_dict = _bare(torch.optim.Optimizer.state_dict)
    load_state_dict = _bare(torch.optim.Optimizer.load_state_dict)


def _gathered(params: Iterable[Any]) -> list[Any]:
    """Parameters, or groups of them, that can be gone through again."""
    return [{**each, "params": list(each["params"])} if isinstance(each, dict) else each for each in params]


def _on_a_cpu(params: Iterable[Any]) -> bool | None:
    """True if all parameters lie on the CPU, where PyTorch would otherwise go through them several times a step.

    Else None: PyTorch chooses among its own implementations only where it is not told.
    """
    tensors = [each for part in params for each in (part["params"] if isinstance(part, dict) else [part])]
    return all(each.device.type == "cpu" for each in tensors) or None


class _Fused(_Bare):
    """An optimizer whose steps on a CPU are fused: one pass over a parameter instead of several.

    Fused steps differ from others in the last bit, as they round once where the others round after each operation.
    """

    def _align(self) -> None:
        """Lay gradients and states out as their parameters, for fused steps take all as they lie in memory."""
        for group in self.param_groups:
            for each in group["params"] if group["fused"] else ():
                if each.grad is not None:
                    each.grad = _laid_out(each.grad, each)
                    for key, value in self.state.get(each, {}).items():
                        self.state[each][key] = _laid_out(value, each)


def _laid_out(value: Any, like: torch.Tensor) -> Any:
    """A tensor in the memory layout of a parameter of its shape; anything else as it is."""
    if not isinstance(value, torch.Tensor) or value.shape != like.shape or value.stride() == like.stride():
        return value
    return torch.empty_like(like, dtype=value.dtype).copy_(value)


class SGD(_Fused, torch.optim.SGD):
    """``torch.optim.SGD``, on a CPU fused.

    Args:
        params: parameters or parameter groups.
        **options: as of ``torch.optim.SGD``; without dampening.
    """

    def __init__(self, params: Iterable[Any], **options: Any) -> None:
        groups = _gathered(params)
        super().__init__(groups, fused=_on_a_cpu(groups), **options)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One optimizer step."""
        for group in self.param_groups:
            if group["fused"] and group["momentum"]:
                self._begin(group["params"])
        self._align()
        return _bare(torch.optim.SGD.step)(self, closure)

    def _begin(self, parameters: Iterable[torch.Tensor]) -> None:
        """Give parameters their momentum before their first step, which fused steps expect of all or of none.

        Without dampening a momentum of zero leads to the same step.
        """
        for each in parameters:
            if each.grad is not None and self.state[each].get("momentum_buffer") is None:
                self.state[each]["momentum_buffer"] = torch.zeros_like(each)


class AdamW(_Fused, torch.optim.AdamW):
    """``torch.optim.AdamW``, on a CPU fused.

    Args:
        params: parameters or parameter groups.
        **options: as of ``torch.optim.AdamW``.
    """

    def __init__(self, params: Iterable[Any], **options: Any) -> None:
        groups = _gathered(params)
        super().__init__(groups, fused=_on_a_cpu(groups), **options)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One optimizer step."""
        self._align()
        return _bare(torch.optim.AdamW.step)(self, closure)


class Optimizer(_Bare):
    """What an optimizer of our own is derived from."""
