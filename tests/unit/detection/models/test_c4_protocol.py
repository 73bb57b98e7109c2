"""MoCo's protocol in every named detail, on the built ResNet-50 detector."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import nn
from torchvision.models.detection.image_list import ImageList

from manyview.backbones import Backbone, build_backbone, wrap_backbone
from manyview.detection.models import Detector, build, build_detector, match_weights
from manyview.errors import UserError

CLASSES = 20
SIDES = {"short_sides": (480, 800), "test_short_side": 800}


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    torch.manual_seed(0)
    backbone = build_backbone("resnet50", zero_init_residual=False)
    with torch.no_grad():  # Norms that differ from fresh ones, as after training.
        for module in backbone.modules():
            if isinstance(module, nn.BatchNorm2d):
                for values in (module.weight, module.bias, module.running_mean, module.running_var):
                    values.uniform_(0.5, 1.5)
                module.num_batches_tracked.fill_(7)
    return backbone.eval()


@pytest.fixture(scope="module")
def detector(backbone: Backbone) -> Detector:
    return build_detector("c4", backbone, classes=CLASSES, masks=True, **SIDES)


def test_every_convolution_and_norm_lands_bit_for_bit(backbone: Backbone, detector: Detector) -> None:
    kinds = {"convolutions": nn.Conv2d, "norms": nn.BatchNorm2d}
    for what, kind in kinds.items():
        layers = {name: module for name, module in backbone.named_modules() if isinstance(module, kind)}
        assert len(layers) == 53, what
        for name, layer in layers.items():
            inside = detector.roi_heads.box_head if name.startswith("layer4") else detector.backbone
            other = inside.get_submodule(name)
            assert type(other) is type(layer)
            assert other.state_dict().keys() == layer.state_dict().keys()
            for key, value in layer.state_dict().items():
                assert torch.equal(other.state_dict()[key], value), f"{name}.{key}"
    match = match_weights(detector, backbone)
    assert match.convolutions == match.norms == (53, 53)
    assert match.absent == ()
    assert str(match) == "53 of 53 convolutions and 53 of 53 normalization layers of resnet50 are in the c4 detector"


def test_body_and_head_compute_what_the_backbone_computes(backbone: Backbone, detector: Detector) -> None:
    """A match by name is not enough: the weights must be where the features go through."""
    images = torch.randn(1, 3, 75, 98)
    detector.eval()
    with torch.no_grad():
        features = detector.backbone(images)
        assert list(features) == ["0"]
        assert features["0"].shape == (1, 1024, 5, 7)
        assert torch.equal(detector.roi_heads.box_head.layer4(features["0"]), backbone(images))
    detector.train()


def test_the_backbone_is_copied_and_nothing_is_frozen(backbone: Backbone, detector: Detector) -> None:
    assert all(parameter.requires_grad for parameter in detector.parameters())
    assert all(module.training for module in detector.modules())
    assert not backbone.training
    mine = {parameter.data_ptr() for parameter in backbone.parameters()}
    assert not mine & {parameter.data_ptr() for parameter in detector.parameters()}
    norms = [module for module in detector.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    assert len(norms) == 53 + 1
    assert all(norm.track_running_stats and norm.affine for norm in norms)


def test_the_stride_is_in_the_three_by_three(detector: Detector) -> None:
    for first in (*(detector.backbone[f"layer{stage}"][0] for stage in (2, 3)), detector.roi_heads.box_head.layer4[0]):
        assert first.conv1.stride == (1, 1)
        assert first.conv2.stride == (2, 2)
        assert first.conv2.kernel_size == (3, 3)


def test_fifteen_anchors_of_exact_size_around_each_cells_corner(detector: Detector) -> None:
    generator = detector.rpn.anchor_generator
    assert generator.num_anchors_per_location() == [15]
    # 100 x 75 pixels, which 16 does not divide: the body gives a map of 7 x 5.
    anchors = generator(ImageList(torch.zeros(2, 3, 75, 100), [(75, 100), (75, 60)]), [torch.zeros(2, 1024, 5, 7)])
    assert len(anchors) == 2
    expected = []
    for row, column, size, ratio in itertools.product(range(5), range(7), (32, 64, 128, 256, 512), (0.5, 1, 2)):
        width, height = math.sqrt(size**2 / ratio), math.sqrt(size**2 * ratio)
        x, y = 16 * column, 16 * row
        expected.append((x - width / 2, y - height / 2, x + width / 2, y + height / 2))
    for of_image in anchors:
        assert of_image.dtype == torch.float32
        torch.testing.assert_close(of_image, torch.tensor(expected), rtol=0, atol=1e-4)


def test_anchors_keep_their_digits_in_half_precision(detector: Detector) -> None:
    images = ImageList(torch.zeros(1, 3, 64, 1600), [(64, 1600)])
    anchors = detector.rpn.anchor_generator(images, [torch.zeros(1, 1024, 4, 100, dtype=torch.bfloat16)])[0]
    assert anchors.dtype == torch.float32
    assert len(anchors.unique(dim=0)) == 4 * 100 * 15


def test_the_proposal_network_is_as_wide_as_the_bodys_map(detector: Detector) -> None:
    head = detector.rpn.head
    convolutions = [module for module in head.conv.modules() if isinstance(module, nn.Conv2d)]
    assert [(c.in_channels, c.out_channels, c.kernel_size) for c in convolutions] == [(1024, 1024, (3, 3))]
    assert (head.cls_logits.out_channels, head.bbox_pred.out_channels) == (15, 60)
    for layer in (*convolutions, head.cls_logits, head.bbox_pred):
        assert layer.weight.std().item() == pytest.approx(0.01, rel=0.1)
        assert not layer.bias.any()


def apart(count: int) -> torch.Tensor:
    """Boxes of 4 x 4 pixels that do not touch."""
    index = torch.arange(count)
    corner = torch.stack((index % 200, index // 200), dim=1) * 5.0
    return torch.cat((corner, corner + 4), dim=1)


@pytest.mark.parametrize(("training", "before", "after"), [(True, 12_000, 2_000), (False, 6_000, 1_000)])
def test_proposals_before_and_after_suppression(detector: Detector, training: bool, before: int, after: int) -> None:
    count = 13_500
    logits = torch.linspace(3, -3, count)[None, :, None]
    network = detector.rpn.train(training)
    kept, _ = network.filter_proposals(apart(count)[None], logits, [(800, 1333)], [count])
    assert torch.equal(kept[0], apart(count)[:after])
    # The same box for all but the last two of those that may enter, then boxes apart: one and two are left.
    crowded = apart(count)
    crowded[: before - 2] = torch.tensor([900.0, 700, 1000, 790])
    kept, _ = network.filter_proposals(crowded[None], logits, [(800, 1333)], [count])
    assert len(kept[0]) == 3
    network.train()


def test_proposals_are_suppressed_over_an_overlap_of_seven_tenths(detector: Detector) -> None:
    def left(width: float) -> int:
        """How many stay of 100 x 10 and of width x 10 pixels, whose overlap is width/100."""
        boxes = torch.tensor([[0.0, 0, 100, 10], [0, 0, width, 10]])
        return len(detector.rpn.filter_proposals(boxes[None], torch.tensor([[[1.0], [0.0]]]), [(50, 200)], [2])[0][0])

    assert left(69) == 2
    assert left(71) == 1


def test_proposals_are_cut_at_the_border_and_kept_if_tiny(detector: Detector) -> None:
    boxes = torch.tensor([[-500.0, -10, 30, 20], [5, 5, 5.01, 5.01], [300, 5, 400, 9]])
    kept, _ = detector.rpn.filter_proposals(boxes[None], torch.zeros(1, 3, 1), [(50, 200)], [3])
    assert {tuple(box) for box in kept[0].tolist()} == {(0, 0, 30, 20), tuple(boxes[1].tolist())}


def test_anchors_are_labeled_by_overlap_and_sampled_by_halves(detector: Detector) -> None:
    network = detector.rpn
    # Overlaps with the object of 100 x 100: 1, .71, .69, .31, .29; the last object's best anchor overlaps by a tenth.
    anchors = torch.tensor([[0.0, 0, width, 100] for width in (100, 71, 69, 31, 29)] + [[500, 500, 520, 520]])
    objects = torch.tensor([[0.0, 0, 100, 100], [500, 500, 502, 520]])
    labels, _ = network.assign_targets_to_anchors([anchors], [{"boxes": objects}])
    assert labels[0].tolist() == [1, 1, -1, -1, 0, 1]
    for positives, expected in ((1000, (128, 128)), (10, (10, 246))):
        many = torch.cat((torch.ones(positives), torch.zeros(5000), -torch.ones(50)))
        chosen = [int(mask[0].sum()) for mask in network.fg_bg_sampler([many])]
        assert tuple(chosen) == expected


def test_rois_are_pooled_to_fourteen_and_scored_for_each_class(detector: Detector) -> None:
    heads = detector.roi_heads.eval()
    features = {"0": torch.randn(1, 1024, 6, 8)}
    pooled = heads.box_roi_pool(features, [torch.tensor([[3.0, 5, 100, 70]])], [(96, 128)])
    assert pooled.shape == (1, 1024, 14, 14)
    with torch.no_grad():
        maps = heads.box_head(pooled)
        assert maps.shape == (1, 2048, 7, 7)
        # The extra norm comes last, after the stage's own rectifier.
        assert isinstance(heads.box_head.norm, nn.BatchNorm2d)
        assert torch.equal(maps, heads.box_head.norm(heads.box_head.layer4(pooled)))
        logits, deltas = heads.box_predictor(maps)
        averaged = maps.mean((2, 3))
        torch.testing.assert_close(logits, heads.box_predictor.cls_score(averaged))
        assert heads.mask_predictor(maps).shape == (1, CLASSES, 14, 14)
    assert logits.shape == (1, CLASSES + 1)
    assert deltas.shape == (1, 4 * (CLASSES + 1))
    assert not deltas[:, :4].any()
    assert heads.box_predictor.bbox_pred.out_features == 4 * CLASSES
    assert heads.box_coder.weights == (10, 10, 5, 5)
    heads.train()


def test_the_mask_head_is_a_deconvolution_and_a_one_by_one(detector: Detector) -> None:
    layers = list(detector.roi_heads.mask_predictor)
    assert [type(layer) for layer in layers] == [nn.ConvTranspose2d, nn.ReLU, nn.Conv2d]
    up, _, last = layers
    assert (up.in_channels, up.out_channels, up.kernel_size, up.stride) == (2048, 256, (2, 2), (2, 2))
    assert (last.in_channels, last.out_channels, last.kernel_size) == (256, CLASSES, (1, 1))
    assert detector.roi_heads.mask_roi_pool is None
    assert detector.roi_heads.mask_head is None


def test_heads_start_by_detectron2s_initialization(detector: Detector) -> None:
    heads = detector.roi_heads
    # fan_out of the deconvolution as PyTorch counts it: 2,048 x 2 x 2.
    for layer, deviation in (
        (heads.box_predictor.cls_score, 0.01),
        (heads.box_predictor.bbox_pred, 0.001),
        (heads.mask_predictor[0], math.sqrt(2 / (2048 * 4))),
        (heads.mask_predictor[2], 0.001),
    ):
        assert layer.weight.std().item() == pytest.approx(deviation, rel=0.05)
        assert not layer.bias.any()


def test_512_rois_a_quarter_foreground_and_objects_among_the_proposals(detector: Detector) -> None:
    heads = detector.roi_heads
    objects = torch.tensor([[0.0, 0, 100, 100], [300, 300, 340, 350]])
    near = objects[:1] + torch.rand(400, 4)
    half, under = torch.tensor([[0.0, 0, 100, 50.5]]), torch.tensor([[0.0, 0, 100, 49.5]])
    far = apart(2000) + 400
    target = {"boxes": objects, "labels": torch.tensor([3, 7]), "masks": torch.zeros(2, 900, 1500, dtype=torch.uint8)}
    boxes, _, labels, _ = heads.select_training_samples([torch.cat((near, far))], [target])
    assert len(boxes[0]) == 512
    assert int((labels[0] > 0).sum()) == 128
    boxes, _, labels, _ = heads.select_training_samples([torch.cat((half, under, far[:20]))], [target])
    found = {tuple(box): int(label) for box, label in zip(boxes[0].tolist(), labels[0], strict=True) if label}
    assert found == {(0, 0, 100, 50.5): 3, (0, 0, 100, 100): 3, (300, 300, 340, 350): 7}


def test_detections_are_thresholded_suppressed_and_counted(detector: Detector) -> None:
    heads = detector.roi_heads
    still = torch.zeros(150, 4 * (CLASSES + 1))

    def detect(boxes: torch.Tensor, probability: float, label: int = 4) -> tuple[list[torch.Tensor], ...]:
        logits = torch.full((len(boxes), CLASSES + 1), -30.0)
        logits[:, 0], logits[:, label] = math.log(1 - probability), math.log(probability)
        return heads.postprocess_detections(logits, still[: len(boxes)], [boxes], [(800, 1333)])

    assert len(detect(apart(150), 0.049)[0][0]) == 0
    boxes, scores, labels = detect(apart(150), 0.051)
    assert len(boxes[0]) == 100
    assert set(labels[0].tolist()) == {4}
    torch.testing.assert_close(scores[0], torch.full((100,), 0.051))
    for width, left in ((49.0, 2), (51.0, 1)):
        assert len(detect(torch.tensor([[0.0, 0, 100, 10], [0, 0, width, 10]]), 0.9)[0][0]) == left


def test_each_class_has_its_own_box(detector: Detector) -> None:
    """An RoI's second class moves right by a tenth of its weighted width, and its first stays."""
    heads = detector.roi_heads
    logits = torch.full((1, CLASSES + 1), -30.0)
    logits[0, 1:3] = torch.tensor([1.0, 0.5])
    deltas = torch.zeros(1, CLASSES + 1, 4)
    deltas[0, 2, 0] = 1.0
    region = torch.tensor([[10.0, 20, 60, 40]])
    boxes, _, labels = heads.postprocess_detections(logits, deltas.flatten(1), [region], [(100, 100)])
    assert labels[0].tolist() == [1, 2]
    torch.testing.assert_close(boxes[0], torch.tensor([[10.0, 20, 60, 40], [15, 20, 65, 40]]))


def test_images_are_normalized_as_the_backbones_and_padded_to_the_largest(backbone: Backbone) -> None:
    model = build_detector("c4", backbone, classes=2, short_sides=(75,), test_short_side=75)
    images = [torch.rand(3, 75, 98), torch.rand(3, 80, 75)]
    batch, _ = model.transform.train()(images)
    assert batch.tensors.shape == (2, 3, 80, 98)
    mean, std = torch.tensor(backbone.mean), torch.tensor(backbone.std)
    assert tuple(round(value * 255, 3) for value in backbone.mean) == (123.675, 116.28, 103.53)
    for image, padded in zip(images, batch.tensors, strict=True):
        height, width = image.shape[1:]
        expected = (image - mean[:, None, None]) / std[:, None, None]
        torch.testing.assert_close(padded[:, :height, :width], expected)
        assert not padded[:, height:].any()
        assert not padded[:, :, width:].any()


@pytest.mark.parametrize(
    ("name", "count", "width"), [("resnet18", 20, 512), ("resnet34", 36, 512), ("resnet101", 104, 2048)]
)
def test_other_depths_land_too_and_set_the_widths(name: str, count: int, width: int) -> None:
    backbone = build_backbone(name)
    detector = build_detector("c4", backbone, classes=2, **SIDES)
    assert match_weights(detector, backbone).convolutions == (count, count)
    assert detector.rpn.head.cls_logits.in_channels == width // 2
    assert detector.roi_heads.box_head.norm.num_features == width
    assert detector.roi_heads.box_predictor.cls_score.in_features == width


@pytest.mark.parametrize("architecture", ["c4", "fpn"])
def test_one_bit_amiss_is_found_and_named(architecture: str) -> None:
    backbone = build_backbone("resnet18")
    detector = build_detector(architecture, backbone, classes=2, **SIDES)
    name = "layer4.1.conv2.weight"
    inside = detector.roi_heads.box_head if architecture == "c4" else detector.backbone.body
    weight = inside.get_parameter(name).data.view(torch.int32)
    weight[0, 0, 0, 0] ^= 1
    match = match_weights(detector, backbone)
    assert (match.convolutions, match.norms) == ((19, 20), (20, 20))
    assert match.absent == (name,)
    assert str(match).endswith(f"are in the {architecture} detector; not {name}")


def test_a_last_stage_left_random_never_leaves_the_builder(monkeypatch: pytest.MonkeyPatch) -> None:
    parts = build.c4_parts

    def forgetful(backbone: Backbone, *arguments: object) -> object:
        made = parts(backbone, *arguments)
        for module in made.heads.box_head.layer4.modules():
            if isinstance(module, nn.Conv2d):
                module.reset_parameters()
        return made

    monkeypatch.setattr(build, "c4_parts", forgetful)
    with pytest.raises(AssertionError, match=r"15 of 20 convolutions and 20 of 20 .* not layer4\.0\.conv1\.weight"):
        build_detector("c4", build_backbone("resnet18"), classes=2, **SIDES)


def test_norms_can_count_over_all_processes() -> None:
    detector = build_detector("c4", build_backbone("resnet18"), classes=2, sync_batch_norm=True, **SIDES)
    norms = [module for module in detector.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    assert len(norms) == 21
    assert all(isinstance(norm, nn.SyncBatchNorm) for norm in norms)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"architecture": "c5"}, "unknown detector 'c5'; choose one of c4, fpn"),
        ({"classes": 0}, "classes of a detector must be at least 1, not 0"),
        ({"regions": 0}, "regions of a detector must be at least 1, not 0"),
        ({"test_proposals": 0}, "test_proposals of a detector must be at least 1, not 0"),
        ({"short_sides": ()}, "sides must be at least 1 pixel"),
        ({"max_side": 0}, "sides must be at least 1 pixel"),
    ],
)
def test_numbers_out_of_range_are_refused(change: dict[str, object], message: str) -> None:
    settings = {"architecture": "c4", "backbone": build_backbone("resnet18"), "classes": 2, **SIDES, **change}
    with pytest.raises(UserError, match=message):
        build_detector(**settings)


def test_other_networks_are_refused_in_one_line() -> None:
    own = wrap_backbone(nn.Conv2d(3, 8, 3), 16)
    for backbone, name in ((build_backbone("timm/test_resnet"), "timm/test_resnet"), (own, "own:")):
        with pytest.raises(UserError, match=rf"c4 needs a torchvision ResNet \(resnet18, .*\), not {name}"):
            build_detector("c4", backbone, classes=2, **SIDES)
