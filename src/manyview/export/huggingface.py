"""Export to Hugging Face: a folder that transformers or timm loads like one from the hub."""

from __future__ import annotations

import copy
import importlib.metadata
import importlib.util
import json
from pathlib import Path
from typing import Any

from torch import Tensor

from manyview.backbones import Backbone
from manyview.backbones.blank import BlankWeights
from manyview.backbones.formats import to_transformers
from manyview.backbones.timm import TimmBackbone
from manyview.backbones.weights import own_weights
from manyview.export import resnet_layouts
from manyview.export.base import ExportFormat, other_network, pixels, resnet_of
from manyview.export.checking import Check, compare_maps, probe, require_layout, require_values, shapes_of
from manyview.export.plain_weights import check_timm, read_state, timm_name, write_state
from manyview.export.resnet_layouts import PLANS, transformers_layout
from manyview.runs import atomic_write

_WEIGHTS, _CONFIG, _PREPROCESSOR = "model.safetensors", "config.json", "preprocessor_config.json"
_SIDE = 224  # Side to which the image processor resizes; the networks themselves take any size.
_BILINEAR = 2  # As PIL numbers it.
# Entries of timm's configuration about a model's images and file.
_KEPT = ("input_size", "fixed_input_size", "pool_size", "crop_pct", "interpolation", "first_conv", "classifier")


class HuggingFaceFormat(ExportFormat):
    """The layout of transformers for plain ResNets, timm's for every other network."""

    name = "huggingface"
    library = "Hugging Face"
    about = "ResNets for transformers, ResNeXts and timm's models for timm; a folder"

    def refusal(self, backbone: Backbone) -> str | None:
        """Transformers supports the plain ResNets, timm all its models."""
        return None if timm_name(backbone) else other_network(self.library, backbone)

    def write(self, backbone: Backbone, target: Path, size: tuple[int, int] | None) -> None:
        """Write configuration, weights and, for RGB, the image processor's settings."""
        if plain_resnet(backbone):
            write_state(target / _WEIGHTS, own_weights(backbone, transformers_name))
            _write_json(target / _CONFIG, _transformers_config(backbone))
            if backbone.rgb:
                _write_json(target / _PREPROCESSOR, _preprocessor(backbone))
        else:
            write_state(target / _WEIGHTS, own_weights(backbone))
            _write_json(target / _CONFIG, _timm_config(backbone))

    def check(self, backbone: Backbone, target: Path, size: tuple[int, int] | None) -> Check:
        """Load the folder with transformers, if it is installed, or with timm."""
        if not plain_resnet(backbone):
            import timm

            found = read_state(target / _WEIGHTS)
            require_layout(found, shapes_of(own_weights(backbone)))
            with BlankWeights():
                network = timm.create_model(f"local-dir:{target}", pretrained=True)
            return check_timm(backbone, network)
        name = plain_resnet(backbone)
        assert name is not None
        found = read_state(target / _WEIGHTS)
        require_layout(found, transformers_layout(name, backbone.in_channels))
        sent = own_weights(backbone, transformers_name)
        if importlib.util.find_spec("transformers") is None:
            return _check_names(backbone, sent, found)
        return _check_transformers(backbone, target, sent)

    def lines(self, backbone: Backbone, out: str) -> str:
        """Code that loads the network."""
        if not plain_resnet(backbone):
            return f"""import timm

model = timm.create_model("local-dir:{out}", pretrained=True).eval()
# model.forward_features(images) is the feature map; images: {pixels(backbone)}
# mean={list(backbone.mean)}, std={list(backbone.std)}, as in timm.data.resolve_model_data_config(model)
"""
        names, processor = "ResNetBackbone", ""
        if backbone.rgb:
            names = "AutoImageProcessor, ResNetBackbone"
            processor = f'processor = AutoImageProcessor.from_pretrained("{out}")\n'
        return f"""from transformers import {names}

{processor}backbone = ResNetBackbone.from_pretrained("{out}", out_features=["stage2", "stage3", "stage4"])
# backbone(pixel_values).feature_maps are the last three stages; pixel_values: {pixels(backbone)}
"""


def plain_resnet(backbone: Backbone) -> str | None:
    """Name of a ResNet that transformers can build: without groups or other widths."""
    name = resnet_of(backbone)
    return name if name and PLANS[name].plain else None


def transformers_name(name: str) -> str:
    """The name in ``ResNetModel`` of a torchvision ResNet's weight (``formats.to_transformers``)."""
    found = to_transformers(name)
    assert found is not None, name
    return found


def _transformers_config(backbone: Backbone) -> dict[str, Any]:
    plan = PLANS[plain_resnet(backbone) or ""]
    return {
        "architectures": ["ResNetModel"],
        "model_type": "resnet",
        "num_channels": backbone.in_channels,
        "embedding_size": resnet_layouts.STEM_WIDTH,
        "hidden_sizes": list(plan.channels),
        "depths": list(plan.blocks),
        "layer_type": "bottleneck" if plan.bottleneck else "basic",
        "hidden_act": "relu",
        "downsample_in_first_stage": False,
        "downsample_in_bottleneck": False,  # The stride is in the 3 x 3 convolution, as in torchvision.
        "torch_dtype": "float32",
    }


def _preprocessor(backbone: Backbone) -> dict[str, Any]:
    """Resize to a square and normalize, as in manyview's own evaluations."""
    return {
        "image_processor_type": "ViTImageProcessor",
        "do_resize": True,
        "size": {"height": _SIDE, "width": _SIDE},
        "resample": _BILINEAR,
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": list(backbone.mean),
        "image_std": list(backbone.std),
    }


def _timm_config(backbone: Backbone) -> dict[str, Any]:
    import timm

    name = timm_name(backbone) or ""
    made = backbone.network.pretrained_cfg if isinstance(backbone, TimmBackbone) else None
    settings: dict[str, Any] = made or timm.get_pretrained_cfg(name).to_dict()  # type: ignore[assignment]
    kept = {key: settings[key] for key in _KEPT if settings.get(key) is not None}
    kept["input_size"] = [backbone.in_channels, *kept["input_size"][1:]]
    channels = {} if backbone.in_channels == 3 else {"model_args": {"in_chans": backbone.in_channels}}
    return {
        "architecture": name.partition(".")[0],
        "num_classes": 0,
        "num_features": backbone.out_channels,
        **channels,
        "pretrained_cfg": {**kept, "mean": list(backbone.mean), "std": list(backbone.std), "num_classes": 0},
    }


def _check_transformers(backbone: Backbone, target: Path, sent: dict[str, Tensor]) -> Check:
    from transformers import ResNetBackbone
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        network = ResNetBackbone.from_pretrained(str(target), local_files_only=True).eval()
    finally:
        if shown:
            logging.enable_progress_bar()
    matched = require_values(sent, network.state_dict())
    difference = compare_maps(backbone, lambda images: network(images).feature_maps[-1], [probe(backbone)])
    version = importlib.metadata.version("transformers")
    return Check(matched, matched, "weights", *difference, f"transformers {version}")


def _check_names(backbone: Backbone, sent: dict[str, Tensor], found: dict[str, Tensor]) -> Check:
    """Check without the library: values and feature maps by a copy of the backbone."""
    matched = require_values(sent, found)
    again = copy.deepcopy(backbone)
    again.load_state_dict({name: found[transformers_name(name)] for name in again.state_dict()})
    difference = compare_maps(backbone, again, [probe(backbone)])
    reader = "manyview, and name by name against the layout of transformers, which is not installed"
    return Check(matched, matched, "weights", *difference, reader)


def _write_json(path: Path, content: dict[str, Any]) -> None:
    atomic_write(path, json.dumps(content, indent=2) + "\n")
