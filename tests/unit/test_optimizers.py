"""The optimizers beside PyTorch's own, of which they are."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from manyview import optimizers


@pytest.mark.parametrize(
    ("name", "options"),
    [("SGD", {"momentum": 0.9, "weight_decay": 0.1}), ("SGD", {}), ("AdamW", {"weight_decay": 0.1})],
)
def test_steps_and_states_are_those_of_torch(name: str, options: dict[str, Any]) -> None:
    networks, states = [], []
    for library in (torch.optim, optimizers):
        torch.manual_seed(0)
        network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(4, 2))
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        kind = getattr(library, name)
        optimizer = kind([{"params": network[0].parameters(), "lr": 0.2}], lr=0.1, **options)
        optimizer.add_param_group({"params": network[2].parameters()})
        for number in range(4):
            if number == 2:  # as a resumed run goes on
                saved = optimizer.state_dict()
                optimizer = kind([{"params": network[0].parameters()}, {"params": network[2].parameters()}], **options)
                optimizer.load_state_dict(saved)
            loss = network(torch.randn(2, 3, 3, 3)).square().sum()
            optimizer.zero_grad()
            assert network[0].weight.grad is None
            loss.backward()
            assert optimizer.step() is None
        assert optimizer.step(lambda: torch.ones(())) == 1
        networks.append(network)
        states.append(optimizer.state_dict())
    first, second = networks
    assert all(torch.equal(one, other) for one, other in zip(first.parameters(), second.parameters(), strict=True))
    assert states[0]["param_groups"] == states[1]["param_groups"]
    assert states[0]["state"].keys() == states[1]["state"].keys()
    assert not any(
        each.requires_grad for values in states[1]["state"].values() for each in values.values() if each is not None
    )
