"""The optimizers beside PyTorch's own, of which they are."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from manyview import optimizers


def steps(kind: Any, late: bool, options: dict[str, Any]) -> tuple[nn.Module, Any]:
    """A network after some steps, resumed amid them, and its optimizer; late: a layer without gradients at first."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(4, 2))
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = kind([{"params": network[0].parameters(), "lr": 0.2}], lr=0.1, **options)
    optimizer.add_param_group({"params": network[2].parameters()})
    for number in range(4):
        if number == 2:
            saved = optimizer.state_dict()
            optimizer = kind([{"params": network[0].parameters()}, {"params": network[2].parameters()}], **options)
            optimizer.load_state_dict(saved)
        loss = network(torch.randn(2, 3, 3, 3)).square().sum()
        optimizer.zero_grad()
        assert network[0].weight.grad is None
        loss.backward()
        if late and number < 3:
            network[0].bias.grad = None
        assert optimizer.step() is None
    assert optimizer.step(lambda: torch.ones(())) == 1
    return network, optimizer


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize(
    ("name", "options", "fused"),
    [
        ("SGD", {"momentum": 0.9, "weight_decay": 0.1}, None),
        ("SGD", {"momentum": 0.9, "weight_decay": 0.1}, True),
        ("SGD", {"weight_decay": 0.1}, True),
        ("AdamW", {"weight_decay": 0.1}, None),
        ("AdamW", {"weight_decay": 0.1}, True),
    ],
)
def test_steps_and_states_are_those_of_torch(
    name: str, options: dict[str, Any], fused: bool | None, late: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To the bit, where they are not fused, as on other devices than a CPU; else to a few roundings."""
    one, theirs = steps(getattr(torch.optim, name), late, options)
    if fused is None:
        monkeypatch.setattr(optimizers, "_on_a_cpu", lambda _: None)
    other, ours = steps(getattr(optimizers, name), late, options)

    assert ours.param_groups[0]["fused"] is fused
    close = {"rtol": 1e-5, "atol": 1e-6} if fused else {"rtol": 0, "atol": 0}
    for first, second in zip(one.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(second, first, **close)
        assert second.stride() == first.stride()
    states = zip(theirs.state.values(), ours.state.values(), strict=True)
    for first, second in states:
        if options.get("momentum", name == "AdamW"):
            torch.testing.assert_close(second, first, **close)


@pytest.mark.parametrize("name", ["SGD", "AdamW"])
def test_fused_steps_take_gradients_and_states_in_any_layout(name: str) -> None:
    """The kernel goes through them as they lie in memory, and would mix their elements."""
    torch.manual_seed(0)
    initial = torch.randn(4, 3, 5, 5).to(memory_format=torch.channels_last)
    gradients = torch.randn(4, *initial.shape)
    ends = []
    for library in (torch.optim, optimizers):
        weights = initial.clone().requires_grad_()
        options = {"momentum": 0.9} if name == "SGD" else {}
        optimizer = getattr(library, name)([weights], lr=0.1, **options)
        for number, gradient in enumerate(gradients):
            weights.grad = gradient.clone()
            optimizer.step()
            if number == 1:
                state = optimizer.state[weights]
                state.update({key: value.contiguous() for key, value in state.items()})
        ends.append(weights.detach())

    torch.testing.assert_close(*ends)
    assert ends[1].stride() == initial.stride()
