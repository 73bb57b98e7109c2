"""Both architectures in training and at test time, on small images of every awkward size."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from manyview.backbones import build_backbone
from manyview.detection.models import Detector, build_detector
from manyview.errors import UserError
from tests.helpers.detections import SMALL_DETECTOR

pytestmark = pytest.mark.usefixtures("narrow")

ARCHITECTURES = ("c4", "fpn")
SIDES = {"c4": 14, "fpn": 28}  # of the masks
Target = dict[str, Tensor]


def build(architecture: str, **changes: object) -> Detector:
    torch.manual_seed(0)
    backbone = build_backbone("resnet18", zero_init_residual=False, in_channels=int(changes.pop("in_channels", 3)))
    return build_detector(architecture, backbone, **{**SMALL_DETECTOR, **changes})


def labeled_image(height: int, width: int, boxes: list[list[float]], labels: list[int]) -> tuple[Tensor, Target]:
    """Bright rectangles, of another color for each class, on dark noise."""
    image = torch.rand(3, height, width) * 0.2
    masks = torch.zeros(len(boxes), height, width, dtype=torch.uint8)
    for mask, (left, top, right, bottom), label in zip(masks, boxes, labels, strict=True):
        part = (slice(int(top), int(bottom)), slice(int(left), int(right)))
        image[label][part] = 1.0
        mask[part] = 1
    found = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)
    return image, {"boxes": found, "labels": torch.tensor(labels, dtype=torch.int64), "masks": masks}


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(1)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_gradients_reach_every_weight_and_every_norm_counts(architecture: str) -> None:
    detector = build(architecture, masks=True)
    norms = {name: m for name, m in detector.named_modules() if isinstance(m, nn.BatchNorm2d)}
    before = {name: (norm.running_mean.clone(), norm.running_var.clone()) for name, norm in norms.items()}
    images, targets = zip(
        labeled_image(70, 101, [[3, 4, 40, 50]], [1]), labeled_image(97, 64, [[10, 10, 60, 60]], [2]), strict=True
    )
    losses = detector(list(images), list(targets))
    names = {"loss_objectness", "loss_rpn_box_reg", "loss_classifier", "loss_box_reg", "loss_mask"}
    assert losses.keys() == names
    assert all(loss.ndim == 0 and loss > 0 for loss in losses.values())
    sum(losses.values()).backward()
    still = [name for name, weight in detector.named_parameters() if weight.grad is None or not weight.grad.any()]
    assert still == []
    for name, norm in norms.items():
        assert not torch.equal(norm.running_mean, before[name][0]), name
        assert not torch.equal(norm.running_var, before[name][1]), name


@pytest.mark.parametrize("masks", [False, True])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_odd_sizes_no_objects_and_boxes_of_one_pixel(architecture: str, masks: bool) -> None:
    detector = build(architecture, masks=masks, max_side=100)
    given = [
        labeled_image(33, 47, [], []),
        labeled_image(61, 200, [[199, 60, 200, 61], [0, 0, 200, 61]], [1, 2]),
        labeled_image(90, 17, [[16.5, 3, 16.75, 90]], [2]),
        labeled_image(20, 20, [[2, 2, 18, 18]] * 40, [1, 2] * 20),
    ]
    kept = [{key: value.clone() for key, value in target.items()} for _, target in given]
    images, targets = ([one[k] for one in given] for k in (0, 1))
    losses = detector(images, targets)
    assert all(bool(loss.isfinite()) for loss in losses.values())
    sum(losses.values()).backward()
    assert all(bool(weight.grad.isfinite().all()) for weight in detector.parameters())
    for target, as_given in zip(targets, kept, strict=True):
        assert all(torch.equal(target[key], value) for key, value in as_given.items())


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_batch_without_objects_has_losses_of_background_alone(architecture: str) -> None:
    detector = build(architecture, masks=True)
    images, targets = zip(labeled_image(64, 80, [], []), labeled_image(64, 64, [], []), strict=True)
    losses = detector(list(images), list(targets))
    assert losses["loss_classifier"] > 0
    assert losses["loss_objectness"] > 0
    assert [losses[name].item() for name in ("loss_box_reg", "loss_rpn_box_reg", "loss_mask")] == [0, 0, 0]
    sum(losses.values()).backward()
    # DistributedDataParallel waits for each gradient.
    assert all(weight.grad is not None for weight in detector.parameters())


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_detections_lie_in_the_image_in_falling_order(architecture: str) -> None:
    detector = build(architecture, masks=True).eval()
    images = [labeled_image(*size, [], [])[0] for size in ((50, 75), (130, 41), (1, 9))]
    with torch.no_grad():
        found = detector(images)
    assert len(found) == 3
    for image, one in zip(images, found, strict=True):
        height, width = image.shape[1:]
        boxes, scores, labels = (one[key] for key in ("boxes", "scores", "labels"))
        assert 0 < len(boxes) == len(scores) == len(labels) <= 2 * 12
        assert one["box_masks"].shape == (len(boxes), SIDES[architecture], SIDES[architecture])
        assert bool(((one["box_masks"] >= 0) & (one["box_masks"] <= 1)).all())
        assert bool((boxes[:, 2:] > boxes[:, :2]).all())
        assert bool((boxes >= 0).all())
        assert bool((boxes[:, [0, 2]] <= width + 1e-3).all())
        assert bool((boxes[:, [1, 3]] <= height + 1e-3).all())
        assert bool((scores > 0.05).all())
        assert bool((scores <= 1).all())
        assert torch.equal(scores, scores.sort(descending=True).values)
        assert set(labels.tolist()) <= {1, 2}


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_each_detection_has_the_mask_of_its_own_class(architecture: str) -> None:
    """Masks of the first class are full and those of the second empty, whatever the RoI."""
    detector = build(architecture, masks=True).eval()
    last = detector.roi_heads.mask_predictor[2]
    with torch.no_grad():
        last.weight.zero_()
        last.bias.copy_(torch.tensor([9.0, -9.0]))
        found = detector([torch.rand(3, 64, 80)])[0]
    assert set(found["labels"].tolist()) == {1, 2}
    for label, mask in zip(found["labels"], found["box_masks"], strict=True):
        assert torch.allclose(mask, torch.tensor(9.0 if label == 1 else -9.0).sigmoid())


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_no_detection_is_an_empty_answer(architecture: str) -> None:
    detector = build(architecture, masks=True).eval()
    with torch.no_grad():
        detector.roi_heads.box_predictor.cls_score.bias[0] = 100
        found = detector([torch.rand(3, 50, 70)])[0]
    assert {key: tuple(value.shape) for key, value in found.items()} == {
        "boxes": (0, 4),
        "scores": (0,),
        "labels": (0,),
        "box_masks": (0, SIDES[architecture], SIDES[architecture]),
    }


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_few_steps_learn_two_images(architecture: str) -> None:
    detector = build(architecture, masks=True, regions=4)
    images, targets = zip(
        labeled_image(64, 80, [[8, 8, 56, 48]], [1]), labeled_image(80, 64, [[4, 20, 60, 70]], [2]), strict=True
    )
    optimizer = torch.optim.SGD(detector.parameters(), lr=0.02, momentum=0.9)
    totals = []
    for _ in range(10):
        loss = sum(detector(list(images), list(targets)).values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        totals.append(loss.item())
    # The sample of regions makes each loss noisy.
    assert min(totals[5:]) < 0.85 * totals[0]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_coordinates_and_losses_keep_their_digits_under_autocast(architecture: str) -> None:
    detector = build(architecture, masks=True, regions=2, test_proposals=3, short_sides=(48,), test_short_side=48)
    image, target = labeled_image(48, 56, [[8, 8, 40, 36]], [1])
    proposals: list[Tensor] = []
    detector.rpn.register_forward_hook(lambda _, given, result: proposals.extend(result[0]))
    with torch.autocast("cpu", torch.bfloat16):
        losses = detector([image], [target])
        assert all(loss.dtype == torch.float32 and bool(loss.isfinite()) for loss in losses.values())
        sum(losses.values()).backward()
        found = detector.eval()([image])[0]
    for boxes in (*proposals, found["boxes"]):
        assert boxes.dtype == torch.float32
        assert not torch.equal(boxes, boxes.bfloat16().float())


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_channels_are_taken_as_the_backbone_takes_them(architecture: str) -> None:
    detector = build(architecture, in_channels=5).eval()
    assert detector.transform.image_mean == [0.0] * 5
    with torch.no_grad():
        assert len(detector([torch.rand(5, 64, 64)])) == 1
        for channels in (1, 3):
            with pytest.raises(UserError, match=f"takes images of 5 channels, but one has {channels}"):
                detector([torch.rand(channels, 64, 64)])


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_fewer_rois_and_proposals_are_heeded(architecture: str) -> None:
    detector = build(architecture, regions=6, test_proposals=9)
    seen: list[int] = []
    detector.roi_heads.box_head.register_forward_hook(lambda _, given, maps: seen.append(len(given[0])))
    images, targets = zip(
        labeled_image(64, 80, [[8, 8, 56, 48]], [1]), labeled_image(80, 64, [[4, 20, 60, 70]], [2]), strict=True
    )
    detector(list(images), list(targets))
    with torch.no_grad():
        detector.eval()(list(images))
    assert seen == [12, 18]
