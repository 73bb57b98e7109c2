"""Named recipes. Settings that a recipe leaves out have the schema's defaults, which are the paper's."""

from __future__ import annotations

from typing import Any

from manyview.config.resolve import nearest_name
from manyview.errors import UserError

# SimSiam's batch of 512 images and the paper's of 128 with four pairs each give the same learning rate, .1.
RECIPES: dict[str, dict[str, Any]] = {
    # The text of arXiv 2506.23156: Sections 3.1, 3.2 and 4.1.
    "paper": {
        "views": {"kind": "blocks", "overlap": 0.2},
        "losses": {"image_aware": {"weight": 4.0, "temperature": 0.3}},
        "training": {"epochs": 200, "batch_size": 128},
    },
    # The paper at smaller views: 160 x 160 pixels are 51 % of 224 x 224, so a network does half the work.
    "paper-160": {"views": {"size": 160}, "losses": {"image_aware": {"weight": 4.0}}},
    # The authors' research code where it differs from their text.
    "released": {
        "views": {"kind": "blocks", "overlap": 0.3, "blur": (0.5, 0.1), "solarize": (0.5, 0.2)},
        "losses": {
            "similarity": {"stop_gradient": False},
            "image_aware": {"weight": 4.0, "temperature": 0.3, "factor": "tau/0.07", "shards": 2},
        },
        "training": {"epochs": 400, "batch_size": 124},
    },
    # SimSiam (arXiv 2011.10566): two views of the whole image, no image-aware loss.
    "simsiam": {
        "views": {"kind": "whole", "pairs": 1},
        "losses": {"image_aware": {"weight": 0.0}},
        "training": {"epochs": 200, "batch_size": 512},
    },
    # Control for blocks: the same number of pairs and the same view area, but crops of the whole image.
    "simsiam-4pairs": {
        "views": {"kind": "whole", "pairs": 4, "scale": (0.098, 0.49)},
        "losses": {"image_aware": {"weight": 0.0}},
        "training": {"epochs": 200, "batch_size": 128},
    },
    # The image-aware loss alone, in SupCon's form "out", for few images a step and any number of steps. No blur: its
    # sigma of up to 2 pixels hides what a small view shows (docs/results.md).
    "recommended": {
        "views": {"kind": "blocks", "overlap": 0.2, "blur": (0.0, 0.0)},
        "method": {"name": "contrastive"},
        "backbone": {"zero_init_residual": False},
        "training": {
            **{"optimizer": "adamw", "epochs": 100, "batch_size": 16, "base_learning_rate": 2e-3, "weight_decay": 0.05},
            **{"schedule_by": "step", "scaling": "sqrt"},
        },
    },
    # From good weights (--init) to better ones for one's own images: norm statistics kept, heads first, a small rate
    # for the backbone, and the average with the initial weights as the result. Few and mild augmentations: invariance
    # to color, blur and small size costs what the weights know. Views should be as large as the images in use.
    "continue": {
        "views": {"kind": "whole", "pairs": 1, "jitter": 0.4, "grayscale": 0.0, "blur": (0.0, 0.0)},
        "method": {"name": "contrastive"},
        "training": {
            **{"optimizer": "adamw", "steps": 50, "batch_size": 48, "base_learning_rate": 1e-3, "scaling": "none"},
            **{"norm_statistics": "keep", "freeze_backbone_steps": 15, "backbone_learning_rate_factor": 0.03},
            **{"blend": 0.7, "weight_decay": 0.05, "schedule_by": "step"},
        },
    },
    # MoCo v2 (arXiv 2003.04297, with --mlp --moco-t 0.2 --aug-plus --cos): its learning rate is .03 at 256 images.
    "mocov2": {
        "views": {
            **{"kind": "whole", "pairs": 1, "scale": (0.2, 1.0), "flip": 0.5, "jitter": 0.8, "brightness": 0.4},
            **{"contrast": 0.4, "saturation": 0.4, "hue": 0.1, "grayscale": 0.2, "blur": (0.5, 0.5)},
            **{"blur_sigma": (0.1, 2.0), "solarize": (0.0, 0.0)},
        },
        "method": {"name": "moco"},
        "backbone": {"zero_init_residual": False},
        "training": {"epochs": 200, "batch_size": 256, "base_learning_rate": 0.03, "weight_decay": 1e-4},
    },
}


def recipe_settings(name: str) -> dict[str, Any]:
    """Nested settings of a recipe, including its name.

    Raises:
        UserError: unknown recipe; the message suggests the nearest name.
    """
    if name not in RECIPES:
        raise UserError(f"unknown recipe {name!r}" + nearest_name(name, list(RECIPES)))
    return {"recipe": name, **RECIPES[name]}
