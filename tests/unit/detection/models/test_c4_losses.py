"""The detector's losses against their definitions, written out in float64."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from manyview.backbones import build_backbone
from manyview.detection.models import Detector, build_detector
from manyview.detection.models.losses import box_losses, mask_loss, mask_targets, proposal_losses

Array = np.ndarray


def cross_entropy_of_bit(logit: float, truth: float) -> float:
    probability = 1 / (1 + math.exp(-logit))
    return -truth * math.log(probability) - (1 - truth) * math.log(1 - probability)


def deltas_to(source: Array, target: Array, weights: tuple[float, ...] = (1, 1, 1, 1)) -> list[float]:
    """The four numbers that carry one box onto another (R-CNN, arXiv 1311.2524, Appendix C)."""
    (x, y, w, h), (tx, ty, tw, th) = (
        ((left + right) / 2, (top + bottom) / 2, right - left, bottom - top)
        for left, top, right, bottom in (source, target)
    )
    raw = ((tx - x) / w, (ty - y) / h, math.log(tw / w), math.log(th / h))
    return [weight * value for weight, value in zip(weights, raw, strict=True)]


@pytest.fixture(scope="module")
def detector() -> Detector:
    torch.manual_seed(0)
    return build_detector(
        "c4", build_backbone("resnet18"), classes=3, masks=True, short_sides=(64,), test_short_side=64, regions=16
    )


def test_proposal_losses_by_definition() -> None:
    generator = np.random.default_rng(0)
    logits, deltas, targets = (generator.normal(size=shape) * 2 for shape in (9, (9, 4), (9, 4)))
    labels = np.array([1, 0, -1, 0, 1, -1, 0, 1, 0], float)
    targets[labels < 1] = -math.inf  # As the coder gives for images without objects; never to be read.
    quota = 14
    classification = sum(
        cross_entropy_of_bit(logit, truth) for logit, truth in zip(logits, labels, strict=True) if truth >= 0
    )
    boxes = sum(abs(deltas[i, k] - targets[i, k]) for i in range(9) if labels[i] == 1 for k in range(4))
    found = proposal_losses(*(torch.from_numpy(values) for values in (logits, deltas, labels, targets)), quota)
    assert [value.item() for value in found] == pytest.approx([classification / quota, boxes / quota], rel=1e-12)


def test_box_losses_by_definition() -> None:
    generator = np.random.default_rng(1)
    logits, deltas = generator.normal(size=(7, 4)), generator.normal(size=(7, 16))
    targets, labels = generator.normal(size=(7, 4)), np.array([0, 2, 0, 3, 1, 0, 2])
    targets[labels == 0] = math.nan
    classification = np.mean(
        [math.log(sum(math.exp(v) for v in row)) - row[label] for row, label in zip(logits, labels, strict=True)]
    )
    boxes = sum(abs(deltas[i, 4 * labels[i] + k] - targets[i, k]) for i in range(7) if labels[i] for k in range(4))
    tensors = [torch.from_numpy(values) for values in (logits, deltas, labels, targets)]
    tensors[1].requires_grad_()
    found = box_losses(*tensors)
    assert [value.item() for value in found] == pytest.approx([classification, boxes / 7], rel=1e-12)
    # Only the box of a region's own class is moved, by the sign alone: the loss is L1, not smooth.
    found[1].backward()
    gradient = np.zeros((7, 16))
    for i in np.flatnonzero(labels):
        own = slice(4 * labels[i], 4 * labels[i] + 4)
        gradient[i, own] = np.sign(deltas[i, own] - targets[i]) / 7
    np.testing.assert_allclose(tensors[1].grad.numpy(), gradient, rtol=1e-12)


def test_mask_loss_by_definition() -> None:
    generator = np.random.default_rng(2)
    logits, labels = generator.normal(size=(3, 2, 4, 4)), np.array([2, 1, 2])
    truth = generator.random((3, 4, 4)) < 0.4
    expected = np.mean(
        [
            cross_entropy_of_bit(logits[i, labels[i] - 1, y, x], float(truth[i, y, x]))
            for i in range(3)
            for y in range(4)
            for x in range(4)
        ]
    )
    found = mask_loss(*(torch.from_numpy(values) for values in (logits, labels, truth)))
    assert found.item() == pytest.approx(expected, rel=1e-12)


def test_nothing_to_train_on_is_no_loss_and_no_gradient() -> None:
    logits, deltas = torch.zeros(0, 4, requires_grad=True), torch.zeros(0, 16, requires_grad=True)
    none = torch.zeros(0, dtype=torch.int64)
    masks = torch.zeros(0, 3, 14, 14, requires_grad=True)
    losses = (
        *box_losses(logits, deltas, none, torch.zeros(0, 4)),
        mask_loss(masks, none, torch.zeros(0, 14, 14, dtype=torch.bool)),
        *proposal_losses(torch.zeros(5), torch.zeros(5, 4), -torch.ones(5), torch.zeros(5, 4), 256),
    )
    assert [loss.item() for loss in losses] == [0] * 5
    sum(losses).backward()
    assert all(values.grad is not None for values in (logits, deltas, masks))


def test_mask_targets_are_the_objects_part_in_each_roi() -> None:
    masks = torch.zeros(2, 40, 60, dtype=torch.uint8)
    masks[0, 10:30, 20:50] = 1
    masks[1, :, :30] = 1
    boxes = torch.tensor([[20.0, 10, 50, 30], [5, 10, 35, 30], [26, 4, 34, 12]])
    found = mask_targets(masks, boxes, torch.tensor([0, 0, 1]), 4)
    assert found[0].all()
    assert found[1].tolist() == [[False, False, True, True]] * 4
    assert found[2].tolist() == [[True, True, False, False]] * 4
    assert torch.equal(mask_targets(masks.bool(), boxes, torch.tensor([0, 0, 1]), 4), found)


def test_the_proposal_networks_losses_count_what_was_to_be_sampled(detector: Detector) -> None:
    """One object on two images of few anchors: sums over all of them, divided by 2 x 256 however few there are."""
    network = detector.rpn.train()
    objects = np.array([[4.0, 4, 36, 30]])
    generator = torch.Generator().manual_seed(3)
    anchors = network.anchor_generator.grid_anchors([[2, 2]], [[16, 16]])[0]
    logits = torch.randn(2 * len(anchors), 1, generator=generator)
    deltas = torch.randn(2 * len(anchors), 4, generator=generator)
    targets = [{"boxes": torch.tensor(objects, dtype=torch.float32)}, {"boxes": torch.zeros(0, 4)}]
    labels, matched = network.assign_targets_to_anchors([anchors] * 2, targets)
    wanted = network.box_coder.encode(matched, [anchors] * 2)
    found = network.compute_loss(logits, deltas, labels, wanted)

    def overlap(box: Array) -> float:
        width, height = (min(box[2 + k], objects[0][2 + k]) - max(box[k], objects[0][k]) for k in (0, 1))
        common = max(width, 0) * max(height, 0)
        areas = [(b[2] - b[0]) * (b[3] - b[1]) for b in (box, objects[0])]
        return common / (sum(areas) - common)

    boxes = anchors.double().numpy()
    overlaps = [overlap(box) for box in boxes]
    classification = regression = 0.0
    for index, box in enumerate([*boxes, *boxes]):
        value = overlaps[index] if index < len(boxes) else 0.0
        positive = value >= 0.7 or (value > 0 and value == max(overlaps))
        if positive or value < 0.3:
            classification += cross_entropy_of_bit(logits[index, 0].item(), float(positive))
        if positive:
            regression += np.abs(deltas[index].double().numpy() - deltas_to(box, objects[0])).sum()
    assert regression > 0
    assert [loss.item() for loss in found] == pytest.approx([classification / 512, regression / 512], rel=1e-4)


def test_the_heads_losses_on_rois_made_by_hand(detector: Detector) -> None:
    """From proposals to losses, by the weights of this network and the definitions alone."""
    heads = detector.roi_heads.train()
    target = {
        "boxes": torch.tensor([[8.0, 8, 40, 40], [30, 4, 60, 20]]),
        "labels": torch.tensor([2, 3]),
        "masks": torch.zeros(2, 64, 64, dtype=torch.uint8),
    }
    target["masks"][0, 8:40, 8:24] = 1
    target["masks"][1, 4:20, 30:60] = 1
    proposals = torch.tensor([[10.0, 6, 42, 40], [0, 40, 20, 60], [28, 4, 60, 22]])
    features = {"0": torch.randn(1, 256, 4, 4)}
    seen: dict[str, torch.Tensor] = {}
    hook = heads.box_head.register_forward_hook(lambda _, given, maps: seen.update(maps=maps))
    losses = heads(features, [proposals], [(64, 64)], [target])[1]
    hook.remove()

    # All five proposals, objects among them, are kept in their order; the second is background.
    regions = np.concatenate((proposals.numpy(), target["boxes"].numpy())).astype(float)
    object_of = [0, None, 1, 0, 1]
    with torch.no_grad():
        logits, deltas = (values.double().numpy() for values in heads.box_predictor(seen["maps"]))
        masks = heads.mask_predictor(seen["maps"]).double().numpy()
    assert masks.shape == (5, 3, 14, 14)
    classification, regression, mask = [], 0.0, []
    for index, which in enumerate(object_of):
        label = 0 if which is None else int(target["labels"][which])
        classification.append(math.log(np.exp(logits[index]).sum()) - logits[index, label])
        if which is not None:
            wanted = deltas_to(regions[index], target["boxes"][which].double().numpy(), (10, 10, 5, 5))
            regression += np.abs(deltas[index, 4 * label : 4 * label + 4] - wanted).sum()
            left, top, right, bottom = regions[index]
            mask += [
                cross_entropy_of_bit(
                    masks[index, label - 1, y, x],
                    share(
                        target["masks"][which].numpy(),
                        (left + (right - left) * x / 14, top + (bottom - top) * y / 14),
                        ((right - left) / 14, (bottom - top) / 14),
                    )
                    >= 0.5,
                )
                for y in range(14)
                for x in range(14)
            ]
    expected = {"loss_classifier": np.mean(classification), "loss_box_reg": regression / 5, "loss_mask": np.mean(mask)}
    assert {name: loss.item() for name, loss in losses.items()} == pytest.approx(expected, rel=1e-4)


def share(mask: Array, corner: tuple[float, float], cell: tuple[float, float]) -> float:
    """Mean of the mask over ceil(cell) x ceil(cell) points of a cell, each between the four pixels around it."""
    counts = [math.ceil(side) for side in cell]
    points = [[corner[k] + cell[k] * (i + 0.5) / counts[k] - 0.5 for i in range(counts[k])] for k in (0, 1)]
    return float(np.mean([bilinear(mask.astype(float), x, y) for y in points[1] for x in points[0]]))


def bilinear(grid: Array, x: float, y: float) -> float:
    """Between the four places around a point; nothing more than one place outside, the edge's value at less."""
    height, width = grid.shape
    if not (-1 <= x <= width and -1 <= y <= height):
        return 0.0
    x, y = min(max(x, 0), width - 1), min(max(y, 0), height - 1)
    x0, y0 = min(int(x), width - 2), min(int(y), height - 2)
    u, v = x - x0, y - y0
    (a, b), (c, d) = grid[y0 : y0 + 2, x0 : x0 + 2]
    return float((1 - v) * ((1 - u) * a + u * b) + v * ((1 - u) * c + u * d))


def test_rois_are_sampled_half_a_pixel_off_and_as_finely_as_they_are_large(detector: Detector) -> None:
    """RoIAlign with the offset of arXiv 1703.06870's later implementations, in maps of stride 16, point by point."""
    feature_map = torch.randn(1, 1, 6, 8, dtype=torch.float64)
    boxes = np.array([[3.0, 5, 100, 90], [40, 30, 41, 31], [-20, 60, 140, 100], [0, 0, 128, 96]])
    pooled = detector.roi_heads.box_roi_pool({"0": feature_map}, [torch.from_numpy(boxes)], [(96, 128)])
    assert pooled.shape == (4, 1, 14, 14)
    grid = feature_map[0, 0].numpy()
    for box, found in zip(boxes / 16, pooled[:, 0].numpy(), strict=True):
        cell = ((box[2] - box[0]) / 14, (box[3] - box[1]) / 14)
        expected = [
            [share(grid, (box[0] + cell[0] * x, box[1] + cell[1] * y), cell) for x in range(14)] for y in range(14)
        ]
        np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9)


def test_a_large_roi_takes_several_samples_a_cell(detector: Detector) -> None:
    """Of 20 x 20 places in 14 x 14 cells, each cell averages 2 x 2 points."""
    feature_map = torch.randn(1, 1, 40, 40, dtype=torch.float64)
    box = torch.tensor([[16.0, 32, 336, 352]], dtype=torch.float64)
    found = detector.roi_heads.box_roi_pool({"0": feature_map}, [box], [(640, 640)])[0, 0].numpy()
    cell = (20 / 14, 20 / 14)
    for y, x in ((0, 0), (7, 3), (13, 13)):
        corner = (1 + cell[0] * x, 2 + cell[1] * y)
        assert found[y, x] == pytest.approx(share(feature_map[0, 0].numpy(), corner, cell), rel=1e-9)
