"""A pickle of arrays as Detectron2's own model zoo has them, for its C4 and its FPN configurations alike."""

from __future__ import annotations

import pickle
from collections.abc import Collection
from pathlib import Path

from manyview.backbones import Backbone, load_backbone
from manyview.backbones.files import read_tensors
from manyview.backbones.formats import to_detectron2
from manyview.backbones.safe_pickle import read_pickle
from manyview.errors import UserError
from manyview.export.base import Format, of_255, other_network, resnet_of
from manyview.export.checking import Check, compare_maps, probe, require_layout, require_values
from manyview.export.resnet_layouts import PLANS, detectron2_layout
from manyview.export.state_files import own_weights
from manyview.runs import atomic_write

# Without these two Detectron2 takes the file for one of Caffe2's, or wants its own full names.
_ENTRIES = {"__author__": "manyview", "matching_heuristics": True}
# NumPy 2 writes the first name, which NumPy before 1.26 does not know; every version reads the second.
_NEW_NUMPY, _ANY_NUMPY = b"cnumpy._core.multiarray\n", b"cnumpy.core.multiarray\n"


class Detectron2Format(Format):
    """Detectron2's names without any prefix.

    Detectron2 looks for the name of each of its own weights that ends in a name of the file. So bare names reach
    ``backbone.res2`` to ``res4`` and ``roi_heads.res5`` of a C4 configuration, and ``backbone.bottom_up.res2`` to
    ``res5`` of an FPN one, whereas with the prefix ``backbone.`` those of ``roi_heads.res5`` would stay random.
    """

    name = "detectron2"
    library = "Detectron2"
    about = "ResNets; a .pkl for C4 and FPN configurations"
    suffixes = (".pkl",)

    def refusal(self, backbone: Backbone) -> str | None:
        """Detectron2 has the ResNets, for any number of channels."""
        return None if resnet_of(backbone) else other_network(self.library, backbone)

    def write(self, backbone: Backbone, target: Path, size: tuple[int, int] | None) -> None:
        """Pickle the arrays."""
        arrays = {name: tensor.numpy() for name, tensor in own_weights(backbone, to_detectron2).items()}
        # Up to protocol 3 names end at the line's end, and each stands in the pickle once, before the first array.
        data = pickle.dumps({"model": arrays, **_ENTRIES}, protocol=3)
        atomic_write(target, data.replace(_NEW_NUMPY, _ANY_NUMPY, 1))

    def check(self, backbone: Backbone, target: Path, size: tuple[int, int] | None) -> Check:
        """Hold names against Detectron2's layout and both configurations, values and maps against the backbone."""
        with target.open("rb") as file:
            content = read_pickle(file)
        if any(content.get(key) != value for key, value in _ENTRIES.items()):
            raise UserError(
                "Detectron2 would not take it for a file of its own: __author__ or matching_heuristics lack"
            )
        found = read_tensors(target).tensors
        name = resnet_of(backbone)
        assert name is not None
        layout = detectron2_layout(name, backbone.in_channels)
        require_layout(found, layout)
        for configuration in configurations(name):
            require_arrival(found, configuration, layout)
        matched = require_values(own_weights(backbone, to_detectron2), found)
        again = load_backbone(target, name, in_channels=backbone.in_channels)
        difference = compare_maps(backbone, again, [probe(backbone)])
        heads = "C4 and FPN" if len(configurations(name)) == 2 else "FPN"
        reader = f"manyview, and name by name against the layout in Detectron2's {heads} models, which were not run"
        return Check(matched, matched, "weights", *difference, reader)

    def lines(self, backbone: Backbone, out: str) -> str:
        """The configuration."""
        name = resnet_of(backbone)
        assert name is not None
        plan = PLANS[name]
        base = "faster_rcnn_R_50_C4_1x" if plan.bottleneck else "faster_rcnn_R_50_FPN_1x"
        numbers = {"DEPTH": plan.depth, "STRIDE_IN_1X1": False, "NORM": '"SyncBN"'}
        numbers |= {"RES2_OUT_CHANNELS": plan.channels[0], "NUM_GROUPS": plan.groups, "WIDTH_PER_GROUP": plan.width}
        settings = [f"cfg.MODEL.RESNETS.{key} = {value}" for key, value in numbers.items()]
        note = "of R_50_FPN as well" if plan.bottleneck else "its C4 heads are made of other blocks"
        order = ['cfg.INPUT.FORMAT = "RGB"  # not the default'] if backbone.rgb else _OWN_BANDS
        return "\n".join(
            [
                "from detectron2 import model_zoo",
                "",
                f'cfg = model_zoo.get_config("COCO-Detection/{base}.yaml")  # {note}',
                f'cfg.MODEL.WEIGHTS = "{out}"',
                *settings,
                "cfg.MODEL.BACKBONE.FREEZE_AT = 0",
                *order,
                f"cfg.MODEL.PIXEL_MEAN = {of_255(backbone.mean, backbone.rgb)}",
                f"cfg.MODEL.PIXEL_STD = {of_255(backbone.std, backbone.rgb)}",
                "",
            ]
        )


_OWN_BANDS = ["# Detectron2 reads three channels: give it a dataset mapper that reads these bands, from 0 to 1."]


def configurations(name: str) -> tuple[str, ...]:
    """Which of Detectron2's kinds of detector can be built on a ResNet: a C4 head has bottleneck blocks only."""
    return ("C4", "FPN") if PLANS[name].bottleneck else ("FPN",)


def require_arrival(found: Collection[str], configuration: str, layout: Collection[str]) -> None:
    """Follow Detectron2's rule, that a weight takes what its name ends in, for each weight of a detector's ResNet.

    Source: ``align_and_update_state_dicts`` in https://github.com/facebookresearch/detectron2
    ``detectron2/checkpoint/c2_model_loading.py``.

    Args:
        found: names in the file.
        configuration: "C4" or "FPN".
        layout: names of the ResNet's weights by themselves.

    Raises:
        UserError: a weight of the detector would stay random.
    """
    for name in layout:
        if configuration == "FPN":
            full = f"backbone.bottom_up.{name}"
        else:
            full = f"roi_heads.{name}" if name.startswith("res5.") else f"backbone.{name}"
        taken = max((key for key in found if full == key or full.endswith(f".{key}")), key=len, default=None)
        if taken is None or not f".{taken}".endswith(f".{name}"):
            raise UserError(f"{full} of Detectron2's {configuration} would take {taken or 'nothing'} instead of {name}")
