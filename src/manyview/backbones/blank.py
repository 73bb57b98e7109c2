"""Networks built without initial weights, for the weights of a file."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.overrides import TorchFunctionMode


class BlankWeights(TorchFunctionMode):
    """Within it, networks are built with zeros in place of random numbers, and draw none from the generator.

    Random initial weights take as long as reading a file of weights, which then replace them.
    """

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Call ``func``, unless it fills a tensor at random, or makes a normal distribution of a uniform one."""
        if func in (Tensor.normal_, Tensor.uniform_, Tensor.erfinv_):
            return args[0].zero_()
        return func(*args, **(kwargs or {}))
