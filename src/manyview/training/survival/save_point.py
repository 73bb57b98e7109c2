"""The state before a step, to which a step that fails goes back, so that it can be saved."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from manyview import distributed
from manyview.errors import LoadingError, LostProcessError
from manyview.runs.signals import StoppingError


@dataclass
class SavePoint:
    """Saves a run where a step fails for no fault of its own, as it was before the step.

    A forward pass changes only buffers, the running statistics of norms, of which a copy is kept. Everything else
    (weights, momentum encoders, queues, sums of losses) is changed only once all gradients are there; a step that fails
    from then on cannot be undone.

    Args:
        module: whose buffers passes change.
        save: writes a checkpoint; called by all processes.
        say: prints a message.
        step: the number of optimizer steps done.
    """

    module: nn.Module
    save: Callable[[], None]
    say: Callable[[str], None]
    step: Callable[[], int]
    _copies: list[tuple[Tensor, Tensor]] = field(default_factory=list)
    _is_marked: bool = False

    def mark(self) -> None:
        """Keep the state, which is that after ``step()`` steps."""
        buffers = list(self.module.buffers())
        if [id(buffer) for buffer, _ in self._copies] != [id(buffer) for buffer in buffers]:
            self._copies = [(buffer, buffer.detach().clone()) for buffer in buffers]
        else:
            _copy([kept for _, kept in self._copies], [buffer for buffer, _ in self._copies])
        self._is_marked = True

    def leave(self) -> None:
        """From here on the state cannot be undone."""
        self._is_marked = False

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Save if a process is lost, here or elsewhere, or if a stop is requested that does not wait for the step.

        Raises:
            LostProcessError: another process of the run was lost.
        """
        try:
            yield
        except (LoadingError, StoppingError) as error:
            self._save()
            if isinstance(error, StoppingError) and error.number is not None:
                distributed.wait_for_all()  # which all stop at this point, and one saves
            raise
        except RuntimeError as error:
            if not distributed.tells_of_a_lost_process(error):
                raise
            where = self._save()
            raise LostProcessError(
                f"another process of this run was lost ({distributed.first_sentence(error)}), as where it is killed "
                f"for lack of memory: {where}; start all of them again with --resume, as torchrun --max-restarts does "
                "by itself with --resume auto"
            ) from error

    def _save(self) -> str:
        """Save if possible; what was done, in words."""
        if not self._is_marked:
            self.say("In the middle of a step, which cannot be saved; --resume continues from the last checkpoint.")
            return "in the middle of a step, so that only the last checkpoint is saved"
        _copy([buffer for buffer, _ in self._copies], [kept for _, kept in self._copies])
        self.save()
        self.say(f"Saved after step {self.step():,}; continue with --resume.")
        return f"saved after step {self.step():,}"


@torch.no_grad()
def _copy(to: list[Tensor], of: list[Tensor]) -> None:
    """Copy tensors, in few kernels."""
    for floating in (True, False):
        pairs = [(a, b) for a, b in zip(to, of, strict=True) if a.is_floating_point() == floating]
        if pairs:
            torch._foreach_copy_([a for a, _ in pairs], [b for _, b in pairs])
