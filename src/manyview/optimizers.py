"""PyTorch's optimizers, without the import of its compiler.

Their methods are PyTorch's, without the wrappers that would keep them out of compiled code: each of these imports
``torch._dynamo`` when it is first called, which takes two thirds as long as the import of PyTorch itself. Nothing here
is ever part of compiled code.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
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


class SGD(_Bare, torch.optim.SGD):
    """``torch.optim.SGD``."""

    step = torch.no_grad()(_bare(torch.optim.SGD.step))


class AdamW(_Bare, torch.optim.AdamW):
    """``torch.optim.AdamW``."""

    step = torch.no_grad()(_bare(torch.optim.AdamW.step))


class Optimizer(_Bare):
    """What an optimizer of our own is derived from."""
