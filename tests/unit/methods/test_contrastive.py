"""The contrastive method: its loss and one step by hand in float64, positives, groups of views, settings."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from manyview.backbones import wrap_backbone
from manyview.config import ConfigError, PretrainConfig, parse_assignment, resolve
from manyview.methods import METHODS, MethodBatch
from manyview.methods.contrastive import Contrastive
from manyview.recipes import recipe_settings
from references import contrastive as reference

IMAGES, VIEWS, HIDDEN, DIM, TAU = 3, 4, 7, 5, 0.3
IDS = torch.tensor([40, 7, 13])


def configured(*texts: str) -> PretrainConfig:
    base = {"data": {"images": "photos"}, **recipe_settings("recommended")}
    return resolve(base, [parse_assignment(text) for text in texts])


def build(*texts: str) -> Contrastive:
    torch.manual_seed(0)
    config = configured(f"method.hidden_dim={HIDDEN}", f"method.dim={DIM}", f"method.temperature={TAU}", *texts)
    method = METHODS["contrastive"].build(wrap_backbone(nn.Conv2d(3, 4, 3, stride=2), 9), config)
    assert isinstance(method, Contrastive)
    return method.double()


def seen(*sizes: tuple[int, int]) -> MethodBatch:
    """Groups of views, each with a count and a size."""
    generator = torch.Generator().manual_seed(1)
    groups = tuple(
        torch.randn(IMAGES, count, 3, size, size, generator=generator, dtype=torch.float64) for count, size in sizes
    )
    return MethodBatch(groups, IDS, lambda count: torch.arange(count))


def projections(method: Contrastive, batch: MethodBatch) -> np.ndarray:
    """The head by hand: linear and batch normalization over the rows of a group, ReLU, the same without gain."""
    w1, gain, shift, w2 = (parameter.detach().numpy() for parameter in method.projector.parameters())
    parts = []
    for group in batch.groups:
        h = method.backbone(group.flatten(0, 1)).mean((2, 3)).detach().numpy() @ w1.T
        parts.append(normed(np.maximum(normed(h) * gain + shift, 0) @ w2.T))
    return np.concatenate(parts)


def normed(x: np.ndarray) -> np.ndarray:
    return (x - x.mean(axis=0)) / np.sqrt(x.var(axis=0) + 1e-5)


@pytest.mark.parametrize("form", ["outside", "in", "out"])
def test_the_loss_is_that_of_the_definition(form: str) -> None:
    method, batch = build(f"method.form={form}"), seen((VIEWS, 9))
    ids = np.repeat(IDS.numpy(), VIEWS)

    z = projections(method, batch)
    expected = reference.image_aware_terms(reference.unit(z), ids, TAU, form).mean()

    result = method(batch)
    assert result["loss"].item() == pytest.approx(expected, rel=1e-10)
    np.testing.assert_allclose(result["z"].numpy(), z, rtol=1e-9)


def nt_xent(z: np.ndarray, partner: list[int], tau: float = TAU) -> float:
    """SimCLR's loss (arXiv 2002.05709, Eq. 1), averaged over all vectors."""
    z = z / np.linalg.norm(z, axis=1, keepdims=True)
    terms = []
    for i, j in enumerate(partner):
        others = sum(np.exp(z[i] @ z[k] / tau) for k in range(len(z)) if k != i)
        terms.append(-np.log(np.exp(z[i] @ z[j] / tau) / others))
    return float(np.mean(terms))


def test_pairs_alone_give_simclr() -> None:
    """Views 2k and 2k+1 of an image attract each other; its other views are negatives."""
    method, batch = build("method.attract=pair"), seen((VIEWS, 9))

    expected = nt_xent(projections(method, batch), [view ^ 1 for view in range(IMAGES * VIEWS)])

    assert method(batch)["loss"].item() == pytest.approx(expected, rel=1e-10)
    for form in ("outside", "in"):  # equal where each view has a single positive
        method.options = method.options.model_copy(update={"form": form})
        assert method(batch)["loss"].item() == pytest.approx(expected, rel=1e-10)
    with pytest.raises(ConfigError, match=r"method\.form \(--set\) has no effect because method\.attract is pair"):
        configured("method.attract=pair", "method.form=in")


@pytest.mark.parametrize("attract", ["image", "pair"])
def test_views_of_all_groups_are_compared(attract: str) -> None:
    """Two views of 9 pixels and four of 7: as one image's six views, or as three pairs of an image."""
    method, batch = build(f"method.attract={attract}"), seen((2, 9), (4, 7))
    images = [*np.repeat(IDS.numpy(), 2), *np.repeat(IDS.numpy(), 4)]
    pairs = [0, 0] * IMAGES + [1, 1, 2, 2] * IMAGES
    ids = images if attract == "image" else [10 * image + pair for image, pair in zip(images, pairs, strict=True)]

    z = reference.unit(projections(method, batch))
    expected = reference.image_aware_terms(z, np.array(ids), TAU, "out").mean()

    assert method(batch)["loss"].item() == pytest.approx(expected, rel=1e-10)


def test_a_step_follows_the_numerical_gradient() -> None:
    """Central differences of the definition with respect to the last layer's weights."""
    method, batch = build(), seen((VIEWS, 9))
    method(batch)["loss"].backward()
    last = method.projector.layers[-2]
    assert isinstance(last, nn.Linear)
    assert last.weight.grad is not None

    def loss_at(weight: Tensor) -> float:
        with torch.no_grad():
            last.weight.copy_(weight)
        z = reference.unit(projections(method, batch))
        return float(reference.image_aware_terms(z, np.repeat(IDS.numpy(), VIEWS), TAU, "out").mean())

    start, step = last.weight.detach().clone(), 1e-6
    for row, column in ((0, 0), (2, 3), (4, 6)):
        change = torch.zeros_like(start)
        change[row, column] = step
        numerical = (loss_at(start + change) - loss_at(start - change)) / (2 * step)
        assert last.weight.grad[row, column].item() == pytest.approx(numerical, rel=1e-5, abs=1e-9)


def test_positives_and_pairs_follow_the_views() -> None:
    """All views of an image are one set; the learning rate follows their number."""
    blocks = configured()
    assert blocks.method.positives(blocks.views) == (tuple(range(8)),)
    assert blocks.method.pairs(blocks.views) == 4
    simclr = configured("method.attract=pair")
    assert simclr.method.positives(simclr.views) == ((0, 1), (2, 3), (4, 5), (6, 7))
    odd = configured("views.kind=groups", "views.groups=[{count=2},{count=3,size=96}]")
    assert odd.method.positives(odd.views) == (tuple(range(5)),)
    assert odd.method.pairs(odd.views) == 2


def test_pairs_of_an_odd_number_of_views_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"views.groups\[0\].count is 3, but method.name is contrastive"):
        configured("method.attract=pair", "views.kind=groups", "views.groups=[{count=3}]")


def test_settings_of_simsiam_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"losses\.image_aware\.weight"):
        configured("losses.image_aware.weight=4")


# --- SimCLR


def simclr(*texts: str) -> PretrainConfig:
    base = {"data": {"images": "photos"}, **recipe_settings("simclr")}
    return resolve(base, [parse_assignment(text) for text in texts])


def test_values_of_simclr() -> None:
    """arXiv 2002.05709, Sections 2.2 and A, and the released code's run.py and data_util.py."""
    config = simclr()
    views, method, training = config.views, config.method, config.training
    assert (views.kind, views.pairs, views.scale, views.ratio) == ("whole", 1, (0.08, 1), (3 / 4, 4 / 3))
    strength = (views.brightness, views.contrast, views.saturation, views.hue)
    assert (views.jitter, *strength, views.grayscale, views.flip) == (0.8, 0.8, 0.8, 0.8, 0.2, 0.2, 0.5)
    assert (views.blur, views.blur_sigma, views.solarize) == ((0.5, 0.5), (0.1, 2), (0, 0))
    assert method.model_dump() == {
        **{"name": "contrastive", "attract": "pair", "form": "out", "temperature": 0.5, "hidden_dim": 2048, "dim": 128}
    }
    assert (training.optimizer, training.momentum, training.weight_decay) == ("lars", 0.9, 1e-6)
    assert (training.epochs, training.batch_size, training.warmup_share) == (100, 4096, 0.1)
    assert (training.schedule, training.schedule_by, config.learning_rate) == ("cosine", "step", pytest.approx(4.8))
    roots = "training.scaling=sqrt", "training.base_learning_rate=1.2"  # Appendix B.1: .075 sqrt(batch)
    for batch in (256, 4096):
        assert simclr(*roots, f"training.batch_size={batch}").learning_rate == pytest.approx(0.075 * batch**0.5)


def test_simclrs_loss_is_nt_xent_at_its_temperature() -> None:
    torch.manual_seed(0)
    config = simclr(f"method.hidden_dim={HIDDEN}", f"method.dim={DIM}")
    method = METHODS["contrastive"].build(wrap_backbone(nn.Conv2d(3, 4, 3, stride=2), 9), config)
    assert isinstance(method, Contrastive)
    batch = seen((2, 9))
    expected = nt_xent(projections(method.double(), batch), [view ^ 1 for view in range(2 * IMAGES)], tau=0.5)
    assert method(batch)["loss"].item() == pytest.approx(expected, rel=1e-10)


def test_simclr_takes_blocks_and_the_image_aware_loss() -> None:
    """Each block gives a pair, whose two attract each other; the term draws the image's others nearer."""
    config = simclr("views.kind=blocks", "losses.image_aware.weight=2", "training.batch_size=128")
    assert config.method.positives(config.views) == ((0, 1), (2, 3), (4, 5), (6, 7))
    assert config.learning_rate == pytest.approx(0.3 * 128 * 4 / 256)
