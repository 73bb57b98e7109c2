"""Networks built without initial weights, for the weights of a file."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

# PyTorch's own functions of initialization are seen here themselves, or else what they call.
_FILL = {
    *(Tensor.normal_, Tensor.uniform_, Tensor.erfinv_),
    *(nn.init.normal_, nn.init.uniform_, nn.init.kaiming_normal_, nn.init.kaiming_uniform_, nn.init.trunc_normal_),
}
_MAKE = {torch.randn, torch.rand}


class BlankWeights(TorchFunctionMode):
    """Within it, networks are built with zeros in place of random numbers, and draw none from the generator.

    Random initial weights take as long as reading a file of weights, which then replace them.
    """

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Call ``func``, unless it makes random numbers, or a normal distribution of a uniform one."""
        kwargs = kwargs or {}
        if func in _FILL:
            tensor: Tensor = args[0] if args else kwargs["tensor"]
            with torch.no_grad():
                return tensor if tensor.is_meta else tensor.zero_()
        return (torch.zeros if func in _MAKE else func)(*args, **kwargs)
