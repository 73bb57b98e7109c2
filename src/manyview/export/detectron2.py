"""Export to Detectron2: a pickle of arrays as in its model zoo, for C4 and FPN configurations."""

from __future__ import annotations

import pickle
from collections.abc import Collection
from pathlib import Path

from manyview.backbones import Backbone, load_backbone
from manyview.backbones.files import read_tensors
from manyview.backbones.formats import to_detectron2
from manyview.backbones.pickles.safe_pickle import read_pickle
from manyview.backbones.weights import own_weights
from manyview.errors import UserError
from manyview.export.base import ExportFormat, of_255, other_network, resnet_of
from manyview.export.checking import Check, compare_maps, probe, require_layout, require_values
from manyview.export.resnet_layouts import PLANS, detectron2_layout
from manyview.runs import atomic_write

# Without these entries Detectron2 takes the file for one of Caffe2, or requires its own full names.
_ENTRIES = {"__author__": "manyview", "matching_heuristics": True}
# NumPy 2 writes the first name, which NumPy before 1.26 does not know; all versions read the second.
_NEW_NUMPY, _ANY_NUMPY = b"cnumpy._core.multiarray\n", b"cnumpy.core.multiarray\n"


class Detectron2Format(ExportFormat):
    """Detectron2's names without a prefix.

    Detectron2 matches each of its own weights whose name ends in a name of the file. So bare names match
    ``backbone.res2`` to ``res4`` and ``roi_heads.res5`` of a C4 configuration, and ``backbone.bottom_up.res2`` to
    ``res5`` of an FPN one, whereas with the prefix ``backbone.`` those of ``roi_heads.res5`` would stay random.
    """

    name = "detectron2"
    library = "Detectron2"
    about = "ResNets; a .pkl for C4 and FPN configurations"
    suffixes = (".pkl",)

    def refusal(self, backbone: Backbone) -> str | None:
        """Detectron2 supports the ResNets, for any number of channels."""
        return None if resnet_of(backbone) else other_network(self.library, backbone)

    def write(self, backbone: Backbone, target: Path, size: tuple[int, int] | None) -> None:
        """Write the pickle of arrays."""
        arrays = {name: tensor.numpy() for name, tensor in own_weights(backbone, to_detectron2).items()}
        # Up to protocol 3 names end with a newline, and each occurs once in the pickle, before the first array.
        data = pickle.dumps({"model": arrays, **_ENTRIES}, protocol=3)
        atomic_write(target, data.replace(_NEW_NUMPY, _ANY_NUMPY, 1))

    def check(self, backbone: Backbone, target: Path, size: tuple[int, int] | None) -> Check:
        """Compare names with Detectron2's layout and both configurations, values and maps with the backbone."""
        with target.open("rb") as file:
            content = read_pickle(file)
        if any(content.get(key) != value for key, value in _ENTRIES.items()):
            raise UserError(
                "Detectron2 would not recognize it as its own file: __author__ or matching_heuristics is missing"
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
    """Detectron2's architectures for a ResNet: a C4 head has bottleneck blocks only."""
    return ("C4", "FPN") if PLANS[name].bottleneck else ("FPN",)


def require_arrival(found: Collection[str], configuration: str, layout: Collection[str]) -> None:
    """Check by Detectron2's rule of matching name endings that each weight of a detector's ResNet is loaded.

    Source: ``align_and_update_state_dicts`` in https://github.com/facebookresearch/detectron2
    ``detectron2/checkpoint/c2_model_loading.py``.

    Args:
        found: names in the file.
        configuration: "C4" or "FPN".
        layout: names of the ResNet's weights without a prefix.

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
