"""The feature pyramid: its levels, heads and weights."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import nn
from torchvision.models.detection.image_list import ImageList
from torchvision.ops import roi_align

from manyview.backbones import Backbone, build_backbone
from manyview.detection.models import Detector, build_detector, match_weights

CLASSES = 4
SIDES = {"short_sides": (64,), "test_short_side": 64}


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    torch.manual_seed(0)
    return build_backbone("resnet50", zero_init_residual=False).eval()


@pytest.fixture(scope="module")
def detector(backbone: Backbone) -> Detector:
    return build_detector("fpn", backbone, classes=CLASSES, masks=True, **SIDES)


def test_every_convolution_and_norm_lands_bit_for_bit(backbone: Backbone, detector: Detector) -> None:
    body = detector.backbone.body
    for kind in (nn.Conv2d, nn.BatchNorm2d):
        layers = {name: module for name, module in backbone.named_modules() if isinstance(module, kind)}
        assert len(layers) == 53
        for name, layer in layers.items():
            for key, value in layer.state_dict().items():
                assert torch.equal(body.get_submodule(name).state_dict()[key], value), f"{name}.{key}"
    match = match_weights(detector, backbone)
    assert (match.convolutions, match.norms, match.absent) == ((53, 53), (53, 53), ())
    images = torch.randn(1, 3, 64, 96)
    detector.eval()
    with torch.no_grad():
        maps = body(images)
        assert torch.equal(maps["3"], backbone(images))
        assert [tuple(values.shape[1:]) for values in maps.values()] == [
            (256, 16, 24),
            (512, 8, 12),
            (1024, 4, 6),
            (2048, 2, 3),
        ]
    detector.train()


def test_nothing_is_frozen_and_every_norm_trains(detector: Detector) -> None:
    assert all(parameter.requires_grad for parameter in detector.parameters())
    assert all(module.training for module in detector.modules())
    assert not any("Frozen" in type(module).__name__ for module in detector.modules())


def test_the_pyramids_convolutions_have_norms_unless_asked_not_to(backbone: Backbone, detector: Detector) -> None:
    without = build_detector("fpn", backbone, classes=CLASSES, pyramid_norm=False, **SIDES)
    for model, norms in ((detector, 8), (without, 0)):
        layers = list(model.backbone.fpn.modules())
        convolutions = [layer for layer in layers if isinstance(layer, nn.Conv2d)]
        assert len(convolutions) == 8
        assert {layer.out_channels for layer in convolutions} == {256}
        assert all((layer.bias is None) == bool(norms) for layer in convolutions)
        assert sum(isinstance(layer, nn.BatchNorm2d) for layer in layers) == norms


def test_three_anchors_at_each_cell_of_each_level(detector: Detector) -> None:
    sizes = [(24, 32), (12, 16), (6, 8), (3, 4), (2, 2)]
    images = ImageList(torch.zeros(1, 3, 96, 128), [(96, 128)])
    anchors = detector.rpn.anchor_generator(images, [torch.zeros(1, 256, *size) for size in sizes])[0]
    expected = []
    for level, (rows, columns) in enumerate(sizes):
        stride, size = 4 * 2**level, 32 * 2**level
        for row, column, ratio in itertools.product(range(rows), range(columns), (0.5, 1, 2)):
            w, h = size / math.sqrt(ratio), size * math.sqrt(ratio)
            x, y = stride * column, stride * row
            expected.append((x - w / 2, y - h / 2, x + w / 2, y + h / 2))
    torch.testing.assert_close(anchors, torch.tensor(expected), rtol=0, atol=1e-4)


@pytest.mark.parametrize(("training", "before"), [(True, 2_000), (False, 1_000)])
def test_each_level_brings_its_best_and_a_thousand_stay(detector: Detector, training: bool, before: int) -> None:
    """Two levels of 2,500 boxes; in each all but the last of those that may enter are one and the same."""
    index = torch.arange(5000)
    corner = torch.stack((index % 100, index // 100), dim=1) * 5.0
    boxes = torch.cat((corner, corner + 4), dim=1)
    logits = torch.cat((torch.linspace(3, -3, 2500), torch.linspace(4, -4, 2500)))[None, :, None]
    network = detector.rpn.train(training)
    kept, _ = network.filter_proposals(boxes[None], logits, [(800, 800)], [2500, 2500])
    assert len(kept[0]) == 1000
    for start in (0, 2500):
        boxes[start : start + before - 1] = torch.tensor([600.0, 600, 700, 700])
    kept, _ = network.filter_proposals(boxes[None], logits, [(800, 800)], [2500, 2500])
    assert len(kept[0]) == 4
    network.train()


def test_rois_are_pooled_from_the_level_of_their_size(detector: Detector) -> None:
    """224 pixels to P4, and a level up or down for each doubling (arXiv 1612.03144, Eq. 1), with the aligned offset."""
    features = {name: torch.randn(2, 256, 256 // 2**level, 256 // 2**level) for level, name in enumerate("0123")}
    sides = {20: 0, 111: 0, 113: 1, 223: 1, 225: 2, 447: 2, 449: 3, 1000: 3}
    boxes = [torch.tensor([[7.0, 9, 7 + side, 9 + side]]) for side in sides]
    for pool, size in ((detector.roi_heads.box_roi_pool, 7), (detector.roi_heads.mask_roi_pool, 14)):
        found = pool(features, [torch.zeros(0, 4), torch.cat(boxes)], [(1024, 1024)] * 2)
        assert found.shape == (len(sides), 256, size, size)
        for one, box, level in zip(found, boxes, sides.values(), strict=True):
            stride = 4 * 2**level
            expected = roi_align(features[str(level)][1:], [box], size, 1 / stride, sampling_ratio=0, aligned=True)
            torch.testing.assert_close(one, expected[0], rtol=0, atol=1e-4)  # other levels differ by about 1


def test_heads_are_two_layers_for_boxes_and_four_convolutions_for_masks(detector: Detector) -> None:
    heads = detector.roi_heads.eval()
    with torch.no_grad():
        shared = heads.box_head(torch.randn(3, 256, 7, 7))
        assert shared.shape == (3, 1024)
        logits, deltas = heads.box_predictor(shared)
        assert (logits.shape, deltas.shape) == ((3, CLASSES + 1), (3, 4 * (CLASSES + 1)))
        maps = heads.mask_head(torch.randn(3, 256, 14, 14))
        assert maps.shape == (3, 256, 14, 14)
        assert heads.mask_predictor(maps).shape == (3, CLASSES, 28, 28)
    assert sum(isinstance(layer, nn.Conv2d) for layer in heads.mask_head.modules()) == 4
    # Uniform within sqrt(3 / fan_in), which gives a deviation of sqrt(1 / fan_in).
    for layer, fan_in in ((heads.box_head.fc6, 256 * 49), (heads.box_head.fc7, 1024)):
        assert layer.weight.std().item() == pytest.approx(fan_in**-0.5, rel=0.01)
        assert not layer.bias.any()
    heads.train()


def test_images_are_padded_to_the_coarsest_stage(detector: Detector) -> None:
    batch, _ = detector.transform([torch.rand(3, 64, 70), torch.rand(3, 90, 64)])
    assert batch.tensors.shape == (2, 3, 96, 96)
    assert batch.image_sizes == [(64, 70), (90, 64)]
