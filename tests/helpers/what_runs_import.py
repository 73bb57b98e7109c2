"""Everything that a run imports, part of it only as it begins or ends: for a process that forks many runs."""

import safetensors.torch  # noqa: F401
import torch.utils.tensorboard  # noqa: F401

import manyview.detection.models
import manyview.evaluation
import manyview.recipes.next_steps
import manyview.training.run  # noqa: F401
from manyview.imports import import_lightly

import_lightly("torchvision.models", "timm")
