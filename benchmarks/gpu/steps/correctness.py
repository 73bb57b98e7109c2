"""Comparison of GPU and CPU: losses and gradients, views, and finite parameters after steps in bf16."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import torch

from benchmarks.gpu.job import Job
from benchmarks.images import Pixels, load_images
from benchmarks.training.steps import configure, started
from benchmarks.views.parity import LIMIT, difference
from manyview.backbones import build_backbone
from manyview.config import BlockViewsConfig, resolve
from manyview.config.resolve import Assignment
from manyview.methods import MethodBatch, build_method
from manyview.recipes import recipe_settings
from manyview.views import sample_views
from manyview.views.render import opencv
from manyview.views.render.batch_parameters import view_table
from manyview.views.render.torch import augment_views

# Relative limits for float32 against float64: above the effect of another order of summation, below that of errors.
LOSS_LIMIT, GRADIENT_LIMIT = 1e-4, 1e-2


def run(job: Job) -> None:
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    for part in (gradients, renderers, bf16):
        job.attempt(part.__name__, partial(part, job))


def gradients(job: Job) -> dict[str, Any]:
    """Loss and gradient of one batch in float32, on the CPU and on the device, against float64 on the CPU."""
    exact = _loss_and_gradient(job, torch.device("cpu"), torch.float64)
    found: dict[str, Any] = {"passed": True, "limits": {"loss": LOSS_LIMIT, "gradient": GRADIENT_LIMIT}}
    for device in dict.fromkeys(["cpu", job.device.type]):
        loss, gradient = _loss_and_gradient(job, torch.device(device), torch.float32)
        loss_error = abs(loss - exact[0]) / abs(exact[0])
        gradient_error = float((gradient - exact[1]).norm() / exact[1].norm())
        found[device] = {"loss": loss, "loss_error": loss_error, "gradient_error": gradient_error}
        found["passed"] &= loss_error <= LOSS_LIMIT and gradient_error <= GRADIENT_LIMIT
    return found


def _loss_and_gradient(job: Job, device: torch.device, dtype: torch.dtype) -> tuple[float, torch.Tensor]:
    """Loss, and the gradient of all parameters as one float64 vector on the CPU."""
    count, size = (2, 64) if job.tiny else (8, 96)
    torch.manual_seed(0)
    backbone = build_backbone("resnet18", zero_init_residual=False)
    settings = {"data.images": "images", "method.projection_dim": 128, "method.prediction_hidden_dim": 32}
    config = resolve(recipe_settings("paper"), [Assignment(key, value, "") for key, value in settings.items()])
    method = build_method(backbone, config)
    views = torch.randn(count, 8, 3, size, size, dtype=torch.float64)
    method.to(device, dtype)
    in_order = partial(torch.arange, device=device)
    loss = method(MethodBatch((views.to(device, dtype),), torch.arange(count, device=device), in_order))["loss"]
    loss.backward()
    flat = torch.cat([parameter.grad.flatten() for parameter in method.parameters() if parameter.grad is not None])
    return float(loss.detach()), flat.double().cpu()


def renderers(job: Job) -> dict[str, Any]:
    """Views by the device renderer on the device, and by OpenCV, from the same crops and parameters."""
    size, count = (32, 2) if job.tiny else (224, 16)
    images = load_images(job.options.photos, (640, 480), count, enlarge=True)
    cpu, device = _views_twice(images, size, job.device)
    found = difference(device, cpu)
    return {"passed": found["worst_view"] <= LIMIT, "limit": LIMIT, **found}


def _views_twice(images: Sequence[Pixels], size: int, device: torch.device) -> tuple[np.ndarray, np.ndarray]:
    config = BlockViewsConfig(size=size, solarize=(0.5, 0.2))
    by_cpu, by_device = [], []
    for index, image in enumerate(images):
        parameters = sample_views(config, image.shape[1], image.shape[0], seed=0, epoch=0, image=index)
        by_cpu.append(opencv.render_views(image, parameters, size))
        crops = torch.from_numpy(opencv.crop_views(image, parameters, size)).to(device)
        by_device.append(augment_views(crops, view_table(parameters)).cpu().numpy())
    return np.concatenate(by_cpu), np.concatenate(by_device)


def bf16(job: Job) -> dict[str, Any]:
    """A few training steps in bf16, after which every parameter is finite."""
    settings = {
        "training.precision": "bf16",
        "training.device": job.device.type,
        "training.batch_size": 2 if job.tiny else 16,
        "backbone.name": "timm/test_resnet" if job.tiny else "resnet50",
        "views.size": 32 if job.tiny else 96,
        "data.workers": 0,
    }
    with started(configure(job.images((160, 120), 16), settings), job.options.work / "bf16") as steps:
        steps.run(steps.batches, 2)
        finite = all(bool(parameter.isfinite().all()) for parameter in steps.training.method.parameters())
    return {"passed": finite, "steps": 2}
