from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from jaxtyping import Float
from torch import Tensor, nn

from manyview.backbones import Backbone, wrap_backbone
from manyview.config import ImageAwareConfig, LossesConfig, PretrainConfig, SimilarityConfig, SimSiamConfig
from manyview.methods import METHODS, MethodBatch, build_method
from manyview.methods.image_aware_term import image_aware_term
from manyview.methods.pairs import project
from manyview.methods.simsiam import SimSiam
from references import contrastive

IMAGES, PAIRS, DIM = 3, 4, 16


def backbone() -> Backbone:
    return wrap_backbone(nn.Conv2d(3, 5, 3, stride=2), 9)


def method(image_aware: dict[str, Any], stop_gradient: bool = True) -> SimSiam:
    torch.manual_seed(0)
    losses = LossesConfig(
        similarity=SimilarityConfig(stop_gradient=stop_gradient),
        image_aware=ImageAwareConfig(**{"weight": 4.0, **image_aware}),
    )
    return SimSiam(backbone(), SimSiamConfig(projection_dim=DIM, prediction_hidden_dim=8), losses)


@pytest.fixture
def views() -> Tensor:
    return torch.randn(IMAGES, 2 * PAIRS, 3, 9, 9, generator=torch.Generator().manual_seed(1))


IDS = torch.tensor([40, 7, 13])
ORDER = torch.randperm(IMAGES * PAIRS, generator=torch.Generator().manual_seed(2))


def seen(*groups: Tensor, order: Tensor = ORDER) -> MethodBatch:
    def permutation(count: int) -> Tensor:
        assert count == len(order)
        return order

    return MethodBatch(groups, IDS, permutation)


def outputs(module: SimSiam, views: Tensor) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """p1, z1, p2, z2 and the image of each pair, one pair after another."""
    first, second, ids = [], [], []
    for image, own_id in zip(views, IDS.tolist(), strict=True):
        for pair in range(PAIRS):
            first.append(image[2 * pair])
            second.append(image[2 * pair + 1])
            ids.append(own_id)
    results = []
    for x in (torch.stack(first), torch.stack(second)):
        z = module.projector(module.backbone(x).mean((2, 3)))
        results += [module.predictor(z), z]
    p1, z1, p2, z2 = (tensor.detach().double().numpy() for tensor in results)
    return p1, z1, p2, z2, np.array(ids)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"weight": 1.5, "temperature": 0.1, "form": "out"},
        {"vectors": "projections", "form": "in", "factor": 2.5},
        {"vectors": "predictions", "shards": 2},
        {"factor": "tau/0.07", "shards": 3, "stop_gradient": True},
        {"shards": 5, "temperature": 0.5},  # 12 pairs in shards of 3, 3, 2, 2, 2.
        {"weight": 0},
    ],
)
def test_total_loss_equals_eq_3(options: dict[str, Any], training: bool, views: Tensor) -> None:
    module = method(options).train(training)
    p1, z1, p2, z2, ids = outputs(module, views)
    result = module(seen(views))
    similarity = contrastive.similarity(p1, z1, p2, z2)
    weight, temperature = options.get("weight", 4), options.get("temperature", 0.3)
    calls = {"crossed": [(p1, z2), (p2, z1)], "projections": [(z1, z2)], "predictions": [(p1, p2)]}
    image_aware = contrastive.image_aware(
        calls[options.get("vectors", "crossed")],
        ids,
        ORDER.numpy(),
        temperature=temperature,
        form=options.get("form", "outside"),
        shards=options.get("shards", 1),
    )
    factor = options.get("factor", 1)
    image_aware *= temperature / 0.07 if factor == "tau/0.07" else factor
    # A mean of cosines near 0 keeps the rounding of cosines near 1.
    assert result["similarity"].item() == pytest.approx(similarity, rel=1e-5, abs=1e-6)
    assert result["loss"].item() == pytest.approx(similarity + weight * image_aware, rel=1e-5, abs=1e-6)
    assert ("image_aware" in result) is (weight > 0)
    if weight:
        assert result["image_aware"].item() == pytest.approx(image_aware, rel=1e-5)
    np.testing.assert_allclose(result["z"].numpy(), z1, rtol=1e-4, atol=1e-6)
    assert all(value.dtype == torch.float32 for value in result.values())
    assert [name for name, value in result.items() if value.requires_grad] == ["loss"]


def test_two_views_of_the_whole_image_are_simsiam(views: Tensor) -> None:
    module = method({"weight": 0}).eval()
    result = module(seen(views[:, :2]))
    x1, x2 = views[:, 0], views[:, 1]
    z1, z2 = (module.projector(module.backbone(x).mean((2, 3))) for x in (x1, x2))
    arrays = [x.detach().numpy() for x in (module.predictor(z1), z1, module.predictor(z2), z2)]
    assert result["loss"].item() == pytest.approx(contrastive.similarity(*arrays), rel=1e-5)


def test_order_changes_nothing_without_shards(views: Tensor) -> None:
    module = method({}).eval()
    shuffled, plain = (module(seen(views, order=order))["loss"].item() for order in (ORDER, torch.arange(len(ORDER))))
    assert shuffled == pytest.approx(plain, rel=1e-6)


def vectors() -> list[Tensor]:
    generator = torch.Generator().manual_seed(3)
    return [torch.randn(8, DIM, generator=generator, dtype=torch.float64).requires_grad_() for _ in range(4)]


@pytest.mark.parametrize("stop", [True, False])
@pytest.mark.parametrize("kind", ["crossed", "projections", "predictions"])
def test_gradient_of_the_image_aware_term_reaches_the_vectors_that_enter(kind: str, stop: bool) -> None:
    p1, z1, p2, z2 = vectors()
    options = ImageAwareConfig(vectors=kind, stop_gradient=stop)
    term = image_aware_term(options, (p1, z1), (p2, z2), torch.arange(2).repeat_interleave(4), torch.randperm(8))
    assert term.requires_grad is not (stop and kind == "projections")
    if term.requires_grad:
        term.backward()
    reached = [x.grad is not None and bool(x.grad.any()) for x in (p1, z1, p2, z2)]
    p_enters, z_enters = kind != "projections", kind != "predictions" and not stop
    assert reached == [p_enters, z_enters] * 2


@pytest.mark.parametrize("in_image_aware", [True, False])
@pytest.mark.parametrize("in_similarity", [True, False])
def test_each_stop_gradient_option_does_its_own_part(in_similarity: bool, in_image_aware: bool, views: Tensor) -> None:
    """The gradient in the projector equals that of the loss with z cut off by hand."""
    module = method({"weight": 2.0, "stop_gradient": in_image_aware}, stop_gradient=in_similarity).train()
    module(seen(views))["loss"].backward()
    weight = next(module.projector.parameters())
    actual = weight.grad.clone()
    x1, x2 = (views[:, first::2].flatten(0, 1) for first in (0, 1))
    z1, z2 = (module.projector(module.backbone(x).mean((2, 3))) for x in (x1, x2))
    p1, p2 = module.predictor(z1), module.predictor(z2)

    def cut(z: Tensor, stop: bool) -> Tensor:
        return z.detach() if stop else z

    def cosine(p: Tensor, z: Tensor) -> Tensor:
        return ((p / p.norm(dim=1, keepdim=True)) * (z / z.norm(dim=1, keepdim=True))).sum(1).mean()

    loss = -(cosine(p1, cut(z2, in_similarity)) + cosine(p2, cut(z1, in_similarity))) / 2
    ids = IDS.repeat_interleave(PAIRS).repeat(2)
    same = (ids[:, None] == ids) & ~torch.eye(len(ids), dtype=torch.bool)
    others = ~torch.eye(len(ids), dtype=torch.bool)
    for p, z in ((p1, z2), (p2, z1)):
        u = torch.cat((p, cut(z, in_image_aware)))
        u = u / u.norm(dim=1, keepdim=True)
        e = (u @ u.T / 0.3).exp()
        loss = loss - 2.0 / 2 * (((e * same).sum(1) / (e * others).sum(1)).log() / same.sum(1)).mean()
    expected = torch.autograd.grad(loss, weight)[0]
    torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(("shards", "mean"), [(1, 7.0), (2, 3.99), (4, 2.49), (8, 1.74)])
def test_shards_leave_the_positives_of_as_many_devices(
    shards: int, mean: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts: list[float] = []

    def count(z: Float[Tensor, "views dim"], image_ids: Tensor, temperature: float, form: str) -> Float[Tensor, ""]:
        positives = (image_ids[:, None] == image_ids[None, :]).sum(1) - 1
        counts.append(float(positives.double().mean()))
        return z.sum() * 0

    monkeypatch.setattr("manyview.methods.image_aware_term.image_aware_loss", count)
    generator = torch.Generator().manual_seed(4)
    empty = torch.zeros(512, 1)
    ids = torch.arange(128).repeat_interleave(4)
    options = ImageAwareConfig(shards=shards, vectors="projections")
    for _ in range(60):
        image_aware_term(options, (empty, empty), (empty, empty), ids, torch.randperm(512, generator=generator))
    assert len(counts) == 60 * shards
    assert np.mean(counts) == pytest.approx(mean, abs=0.02)


def test_the_loss_is_in_float32_under_autocast(views: Tensor) -> None:
    module = method({}).eval()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        p1, z1, p2, z2, ids = outputs(module, views)
        result = module(seen(views))
    expected = contrastive.similarity(p1, z1, p2, z2) + 4 * contrastive.image_aware(
        [(p1, z2), (p2, z1)], ids, ORDER.numpy(), temperature=0.3
    )
    assert all(value.dtype == torch.float32 for value in result.values())
    assert result["loss"].item() == pytest.approx(expected, rel=1e-5)


def test_widths_are_the_configured_ones() -> None:
    losses = LossesConfig()
    with torch.device("meta"):
        module = SimSiam(backbone(), SimSiamConfig(projection_dim=10, prediction_hidden_dim=3), losses)
    assert [(x.in_features, x.out_features) for x in module.projector.modules() if isinstance(x, nn.Linear)] == [
        (5, 10),
        (10, 10),
        (10, 10),
    ]
    assert [(x.in_features, x.out_features) for x in module.predictor.modules() if isinstance(x, nn.Linear)] == [
        (10, 3),
        (3, 10),
    ]


def test_groups_of_two_sizes_are_pairs_of_their_own(views: Tensor) -> None:
    """As if each group's pairs, of whatever size its views are, stood in one list."""
    small = torch.randn(IMAGES, 2, 3, 7, 7, generator=torch.Generator().manual_seed(5))
    module = method({}).eval()
    order = torch.randperm(IMAGES * (PAIRS + 1), generator=torch.Generator().manual_seed(6))
    z = [
        [project(module.backbone, module.projector, [group[:, first::2].flatten(0, 1)]) for group in (views, small)]
        for first in (0, 1)
    ]
    z1, z2 = (torch.cat(parts) for parts in z)
    arrays = [x.detach().double().numpy() for x in (module.predictor(z1), z1, module.predictor(z2), z2)]
    ids = np.concatenate([IDS.numpy().repeat(PAIRS), IDS.numpy()])
    p1, z1, p2, z2 = arrays
    expected = contrastive.similarity(p1, z1, p2, z2) + 4 * contrastive.image_aware(
        [(p1, z2), (p2, z1)], ids, order.numpy(), temperature=0.3
    )
    assert module(seen(views, small, order=order))["loss"].item() == pytest.approx(expected, rel=1e-5)


def configured(**sections: Any) -> PretrainConfig:
    return PretrainConfig.model_validate({"data": {"images": "photos"}, **sections})


def test_it_is_found_and_built_by_its_name() -> None:
    config = configured(method={"projection_dim": 10, "prediction_hidden_dim": 3})
    assert METHODS["simsiam"] is SimSiam
    module = build_method(backbone(), config)
    assert isinstance(module, SimSiam)
    about = module.describe(config)
    assert about["name"] == "simsiam"
    assert {part: description["module"] for part, description in about["parts"].items()} == {
        "backbone": "backbone",
        "projector": "projector",
        "predictor": "predictor",
    }


def test_remedies_depend_on_what_the_run_did() -> None:
    without = configured(losses={"similarity": {"stop_gradient": False}, "image_aware": {"weight": 0.0}})
    assert build_method(backbone(), without).remedies(without) == [
        "losses.similarity.stop_gradient=true",
        "a stronger image-aware loss (losses.image_aware.weight=17)",
        "a smaller training.base_learning_rate (it was 0.05)",
    ]
    strong = configured(losses={"image_aware": {"weight": 68.0}}, training={"base_learning_rate": 0.4})
    assert build_method(backbone(), strong).remedies(strong) == ["a smaller training.base_learning_rate (it was 0.4)"]
