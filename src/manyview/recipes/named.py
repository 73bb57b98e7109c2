"""Named recipes. What a recipe leaves out has the schema's default: the paper's, but no image-aware loss."""

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
    "paper-160": {
        "views": {"kind": "blocks", "overlap": 0.2, "size": 160},
        "losses": {"image_aware": {"weight": 4.0, "temperature": 0.3}},
        "training": {"epochs": 200, "batch_size": 128},
    },
    # The authors' research code where it differs from their text.
    "released": {
        "views": {"kind": "blocks", "overlap": 0.3, "blur": (0.5, 0.1), "solarize": (0.5, 0.2)},
        "losses": {
            "similarity": {"stop_gradient": False},
            "image_aware": {"weight": 4.0, "temperature": 0.3, "factor": "tau/0.07", "shards": 2},
        },
        "training": {"epochs": 400, "batch_size": 124},
    },
    # SUP of the paper's Tables 1 and 2: supervised contrastive learning's L_out in place of Eq. 1.
    "sup": {
        "views": {"kind": "blocks", "overlap": 0.2},
        "losses": {"image_aware": {"weight": 4.0, "temperature": 0.3, "form": "out"}},
        "training": {"epochs": 200, "batch_size": 128},
    },
    # The control for its size: Eq. 1 is L_in / |P| but for a constant, and |P| is 7 with eight views of an image.
    "sup-matched": {
        "views": {"kind": "blocks", "overlap": 0.2},
        "losses": {"image_aware": {"weight": 4 / 7, "temperature": 0.3, "form": "out"}},
        "training": {"epochs": 200, "batch_size": 128},
    },
    # SimSiam (arXiv 2011.10566): two views of the whole image, no image-aware loss. The predictor's rate decays with
    # all others, as in its released code without --fix-pred-lr and as in "paper", whose control this is. It is constant
    # in its published results (Section 4.2): training.constant_predictor_lr=true.
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
    # Control for blocks: their own crops, of the same sizes and shapes, but each moved anywhere in the image.
    "simsiam-same-size": {
        "views": {"kind": "blocks", "overlap": 0.2, "placement": "anywhere"},
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
    # DenseCL (arXiv 2011.09157) with all that it shares with MoCo v2 as there, as densecl_imagenet_200ep.py of its
    # released code; for COCO, that has a learning rate of .3 and 800 epochs.
    "densecl": {
        "views": {"kind": "whole", "pairs": 1},
        "method": {"name": "densecl"},
        "backbone": {"zero_init_residual": False},
        "training": {"epochs": 200, "batch_size": 256, "base_learning_rate": 0.03, "weight_decay": 1e-4},
    },
    # SimCLR (arXiv 2002.05709, Sections 2.2 and A). Its tau is the best on few and small images (Section B.9); for
    # ImageNet in batches of 4,096 images, the released code has .1.
    "simclr": {
        "views": {
            **{"kind": "whole", "pairs": 1, "scale": (0.08, 1.0), "brightness": 0.8, "contrast": 0.8},
            **{"saturation": 0.8, "hue": 0.2},
        },
        "method": {"name": "contrastive", "attract": "pair", "temperature": 0.5, "dim": 128},
        "training": {
            **{"optimizer": "lars", "epochs": 100, "batch_size": 4096, "base_learning_rate": 0.3},
            **{"weight_decay": 1e-6, "warmup_share": 0.1, "schedule_by": "step"},
        },
    },
    # BYOL (arXiv 2006.07733, Sections 3.3 and B) for 1,000 epochs; its released code has .3, weight decay 1e-6 and
    # momentum .99 for 300.
    "byol": {
        "views": {
            **{"kind": "whole", "pairs": 1, "scale": (0.08, 1.0), "saturation": 0.2},
            **{"blur": (1.0, 0.1), "solarize": (0.0, 0.2)},
        },
        "method": {"name": "byol"},
        "training": {
            **{"optimizer": "lars", "epochs": 1000, "batch_size": 4096, "base_learning_rate": 0.2},
            **{"weight_decay": 1.5e-6, "warmup_share": 0.01, "schedule_by": "step"},
        },
    },
    # Barlow Twins (arXiv 2103.03230, Section 2.2): rates .2 of weights and .0048 of biases and norms at 256 images. The
    # factor .024 of the loss gives both: LARS divides it out of the steps of weights, and out of them alone. Beside so
    # small a loss, 2.4e-8 is the released code's weight decay of 1e-6. Its rate falls to a thousandth, ours to 0.
    "barlowtwins": {
        "views": {
            **{"kind": "whole", "pairs": 1, "scale": (0.08, 1.0), "saturation": 0.2},
            **{"blur": (1.0, 0.1), "solarize": (0.0, 0.2)},
        },
        "method": {"name": "barlowtwins", "scale": 0.024},
        "training": {
            **{"optimizer": "lars", "epochs": 1000, "batch_size": 2048, "base_learning_rate": 0.2},
            **{"weight_decay": 2.4e-8, "warmup_share": 0.01, "schedule_by": "step"},
        },
    },
    # VICReg (arXiv 2105.04906, Section 4.2), with the augmentation of BYOL and Barlow Twins (Appendix C).
    "vicreg": {
        "views": {
            **{"kind": "whole", "pairs": 1, "scale": (0.08, 1.0), "saturation": 0.2},
            **{"blur": (1.0, 0.1), "solarize": (0.0, 0.2)},
        },
        "method": {"name": "vicreg"},
        "training": {
            **{"optimizer": "lars", "epochs": 1000, "batch_size": 2048, "base_learning_rate": 0.2},
            **{"weight_decay": 1e-6, "warmup_share": 0.01, "schedule_by": "step"},
        },
    },
    # The upper line: all classes of data.labels, from random weights. Crops of a quarter of the image or more, so that
    # most of them still show what the labels name. AdamW, whose step does not depend on the number of classes.
    "supervised": {
        "views": {
            **{"kind": "whole", "pairs": 1, "scale": (0.25, 1.0), "jitter": 0.4, "grayscale": 0.0},
            **{"blur": (0.0, 0.0), "solarize": (0.0, 0.0)},
        },
        "method": {"name": "supervised"},
        "training": {
            **{"optimizer": "adamw", "epochs": 100, "batch_size": 64, "base_learning_rate": 1e-3, "scaling": "none"},
            **{"weight_decay": 0.05, "warmup_share": 0.05, "schedule_by": "step"},
        },
    },
    # SwAV with multi-crop (arXiv 2006.09882) on one machine: the released swav_200ep_bs256_pretrain.sh, with its queue.
    # The color jitter is SimCLR's at strength 1.
    "swav": {
        "views": {
            **{"kind": "groups", "jitter": 0.8, "brightness": 0.8, "contrast": 0.8, "saturation": 0.8, "hue": 0.2},
            **{"grayscale": 0.2, "blur": (0.5, 0.5), "blur_sigma": (0.1, 2.0)},
            "groups": [{"count": 2, "scale": (0.14, 1.0)}, {"size": 96, "count": 6, "scale": (0.05, 0.14)}],
        },
        "method": {"name": "swav"},
        "backbone": {"zero_init_residual": False},
        "training": {
            **{"optimizer": "lars", "epochs": 200, "batch_size": 256, "base_learning_rate": 0.6, "weight_decay": 1e-6},
            **{"schedule_by": "step"},
        },
        "monitor": {"patience": 40},  # prototypes that do not move yet draw the projections together for an epoch
    },
    # DINO with multi-crop (arXiv 2104.14294, and the defaults of main_dino.py), for vision transformers; for a
    # ResNet see docs/settings.md, Multi-crop.
    "dino": {
        "views": {
            **{"kind": "groups", "saturation": 0.2},
            "groups": [
                {"count": 2, "scale": (0.4, 1.0), "blur": (1.0, 0.1), "solarize": (0.0, 0.2)},
                {"size": 96, "count": 8, "scale": (0.05, 0.4), "blur": (0.5, 0.5)},
            ],
        },
        "method": {"name": "dino"},
        "backbone": {"zero_init_residual": False},
        "training": {
            **{"optimizer": "adamw", "epochs": 100, "batch_size": 1024, "base_learning_rate": 5e-4},
            **{"weight_decay": 0.04, "weight_decay_end": 0.4, "clip_norm": 3.0, "warmup_share": 0.1},
            **{"schedule_by": "step"},
        },
        "monitor": {"patience": 40},  # as in swav
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
