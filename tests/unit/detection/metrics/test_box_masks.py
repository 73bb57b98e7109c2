"""Masks of boxes in the image's pixels: as bilinear sampling is defined, and in little memory."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from jaxtyping import Float64
from pycocotools import mask as tools
from torch import Tensor

from manyview.backbones import build_backbone
from manyview.detection import dataset
from manyview.detection.detect import DetectionRuntime, find_objects
from manyview.detection.metrics.paste_masks import encode_box_masks, paste
from manyview.detection.models import build_detector
from manyview.labels import decode_masks, encode_mask, read_annotations
from tests.helpers.memory import extra_memory, reads_peak_memory


def whole(
    mask: Float64[np.ndarray, "side side"], box: Float64[np.ndarray, " 4"], width: int, height: int
) -> Float64[np.ndarray, "height width"]:
    """The definition: each pixel's center, as a place of the mask's grid, between the four cells around it.

    Cells beyond the mask's edge are zero.
    """
    side = len(mask)
    left, top, right, bottom = box
    x = (np.arange(width) + 0.5 - left) / (right - left) * side - 0.5
    y = (np.arange(height) + 0.5 - top) / (bottom - top) * side - 0.5
    weights = [np.maximum(0, 1 - abs(places[:, None] - np.arange(side))) for places in (y, x)]
    return weights[0] @ mask @ weights[1].T


def cases(seed: int) -> tuple[Tensor, Tensor, int, int]:
    """Masks and boxes, some of which reach beyond the image, lie outside of it, or hold no pixel's center."""
    rng = np.random.default_rng(seed)
    width, height = (int(side) for side in rng.integers(1, 90, 2))
    corners = np.sort(rng.uniform(-0.2, 1.2, (12, 2, 2)), axis=1) * (width, height)
    corners[:, 1] += 0.02
    corners[0] = [[0, 0], [width, height]]
    corners[1] += 2 * max(width, height)
    corners[2, 1] = corners[2, 0] + 0.3
    side = int(rng.choice([1, 5, 14, 28]))
    masks = rng.random((12, side, side))
    return torch.from_numpy(masks), torch.from_numpy(corners.reshape(12, 4)), width, height


@pytest.mark.parametrize("seed", range(8))
def test_a_window_holds_what_the_whole_canvas_would(seed: int) -> None:
    masks, boxes, width, height = cases(seed)
    for mask, box in zip(masks, boxes, strict=True):
        left, top, values = paste(mask, box, width, height)
        found = np.zeros((height, width))
        found[top : top + values.shape[0], left : left + values.shape[1]] = values.numpy()
        np.testing.assert_allclose(found, whole(mask.numpy(), box.numpy(), width, height), atol=1e-4)
    assert paste(masks[1], boxes[1], width, height).values.numel() == 0


@pytest.mark.parametrize("seed", range(8))
def test_run_lengths_are_those_of_the_whole_canvas(seed: int) -> None:
    masks, boxes, width, height = cases(seed)
    canvas = np.stack([whole(*case, width, height) for case in zip(masks.numpy(), boxes.numpy(), strict=True)])
    sure = abs(canvas - 0.5) > 1e-4  # float32 falls on either side of what lies closer
    assert sure.mean() > 0.99
    for threshold in (0.5, 0.7):
        encoded = encode_box_masks(masks.float(), boxes.float(), width, height, threshold)
        sure = abs(canvas - threshold) > 1e-4
        assert np.array_equal(decode_masks(encoded, width, height)[sure], canvas[sure] >= threshold)
    assert encode_box_masks(masks[:0], boxes[:0], width, height) == []


def test_a_probability_of_the_threshold_belongs_to_the_object() -> None:
    """Each pixel has a cell of its own, so that nothing is rounded."""
    probabilities = torch.tensor([[[0.5, 0.49], [0.51, 0.5]]])
    encoded = encode_box_masks(probabilities, torch.tensor([[1.0, 0, 3, 2]]), 4, 2)
    assert decode_masks(encoded, 4, 2)[0].tolist() == [[0, 1, 0, 0], [0, 1, 1, 0]]


@pytest.mark.parametrize("seed", range(40))
def test_a_part_is_encoded_as_pycocotools_encodes_the_whole(seed: int) -> None:
    rng = np.random.default_rng(seed)
    height, width = (int(side) for side in rng.integers(1, 12, 2))
    (top, bottom), (left, right) = (sorted(rng.integers(0, side + 1, 2).tolist()) for side in (height, width))
    part = rng.random((bottom - top, right - left)) < (0.5, 1)[seed % 2]
    canvas = np.zeros((height, width), dtype=bool)
    canvas[top:bottom, left:right] = part
    expected = tools.encode(np.asfortranarray(canvas, dtype=np.uint8))
    assert encode_mask(part, left, top, (width, height)) == expected
    assert encode_mask(canvas) == expected


def test_measuring_decodes_no_labeled_mask(shapes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    labels = read_annotations(shapes, shapes.parent, masks=True)
    monkeypatch.setattr(dataset, "decode_masks", None)
    detector = build_detector(
        "fpn", build_backbone("resnet18"), classes=3, short_sides=(32,), test_short_side=32, test_proposals=2
    )
    runtime = DetectionRuntime(torch.device("cpu"), "float32", workers=0)
    found = find_objects(detector.eval(), labels, shapes.parent, runtime)
    assert {entry["image_id"] for entry in found} <= {1, 2, 3, 4, 5}


@reads_peak_memory
def test_a_huge_image_takes_bounded_memory() -> None:
    """A hundred masks, one of them as large as an image of 12 megapixels, whose canvases would be 4.8 GB."""
    prepare = (
        "import numpy as np, torch\n"
        "from manyview.detection.metrics import to_coco_results\n"
        "corners = np.sort(np.random.default_rng(0).random((100, 2, 2)), axis=1)\n"
        "corners[0] = [[0, 0], [1, 1]]\n"
        "boxes = torch.tensor((corners * (4000, 3000)).reshape(-1, 4), dtype=torch.float32)\n"
        "output = {'boxes': boxes, 'labels': torch.ones(100, dtype=torch.int64), 'scores': torch.ones(100)}\n"
        "output['box_masks'] = torch.linspace(0, 1, 28).expand(100, 28, 28)"
    )
    work = (
        "results = to_coco_results([output], [1], [1], [(4000, 3000)])\n"
        "assert all(result['segmentation']['size'] == [3000, 4000] for result in results)"
    )
    assert 0 < extra_memory(prepare, work) < 6 * 4 * 4000 * 3000
