"""One optimizer step, computed by hand from the definition of SGD with momentum and weight decay."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from manyview.backbones import wrap_backbone
from manyview.config import PretrainConfig
from manyview.images import find_images
from manyview.methods import MethodBatch, build_method
from manyview.training.data import ViewDataset, collate
from manyview.training.plan import epoch_order, pair_order
from tests.helpers.tiny import TinyNet, train_tiny

MEAN, STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])


@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_step_follows_the_mean_gradient_of_its_batches(photos: Path, tmp_path: Path, accumulate: int) -> None:
    batch = 16 // accumulate
    run = train_tiny(
        photos,
        tmp_path / "run",
        backbone=TinyNet(dropout=0),
        epochs=1,
        batch_size=batch,
        settings={"training.accumulate": accumulate, "training.weight_decay": 0.01},
    )
    config = PretrainConfig.model_validate(run.read_json("config.json"))
    assert config.training.batch_size == batch

    backbone = wrap_backbone(TinyNet(dropout=0), 16)
    torch.manual_seed(0)
    method = build_method(backbone, config).train()
    views = ViewDataset(find_images(photos), config, renderer="cpu")
    order = epoch_order(0, 0, 16)
    losses = []
    for part in range(accumulate):
        samples = collate([views[0, int(image)] for image in order[part * batch : (part + 1) * batch]])
        pixels = (samples.groups[0].permute(0, 1, 3, 4, 2).numpy() / 255 - MEAN) / STD
        x = torch.from_numpy(pixels).permute(0, 1, 4, 2, 3).float()
        shuffle = torch.from_numpy(pair_order(0, 0, part, batch * 4))
        batch_seen = MethodBatch((x,), samples.image_ids, lambda count, shuffle=shuffle: shuffle[:count])
        losses.append(method(batch_seen)["loss"])
    loss = torch.stack(losses).mean()
    gradients = torch.autograd.grad(loss, list(method.parameters()))
    rate = 0.05 * 16 * 4 / 256
    final = load_file(str(run.path / "checkpoints" / "step-000000001.safetensors"))
    after = copy.deepcopy(method)
    prefix = "model."
    after.load_state_dict(
        {name.removeprefix(prefix): value for name, value in final.items() if name.startswith(prefix)}
    )
    moved = dict(after.named_parameters())

    for (name, parameter), gradient in zip(method.named_parameters(), gradients, strict=True):
        direction = gradient + 0.01 * parameter
        expected = (parameter - rate * direction).detach()
        assert torch.allclose(moved[name], expected, atol=1e-6), name
        assert torch.allclose(final["momentum." + name], direction.detach(), atol=1e-5), name
        assert not torch.equal(moved[name], parameter), name
    (record,) = [record for record in run.read_metrics() if record["kind"] == "epoch"]
    assert record["loss"] == pytest.approx(float(loss.detach()), abs=1e-5)
