"""More blocks than four, from the setting to Eq. 1."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from jaxtyping import Float
from torch import Tensor

from manyview.config.resolve import Assignment, resolve
from manyview.errors import UserError
from manyview.methods import image_aware_term
from manyview.recipes import pretrain, recipe_settings
from references import contrastive
from tests.helpers.tiny import train_tiny


@pytest.mark.parametrize(("grid", "blocks"), [((3, 2), 6), ((1, 3), 3), ((1, 1), 1)])
def test_eq_1_sees_every_view_of_every_block(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, grid: tuple[int, int], blocks: int
) -> None:
    seen: list[tuple[Tensor, Tensor, float]] = []
    image_aware_loss = image_aware_term.image_aware_loss

    def record(z: Float[Tensor, "views dim"], image_ids: Tensor, temperature: float, form: str) -> Float[Tensor, ""]:
        loss = image_aware_loss(z, image_ids, temperature=temperature, form=form)
        seen.append((z.detach(), image_ids, loss.item()))
        return loss

    monkeypatch.setattr(image_aware_term, "image_aware_loss", record)

    run = train_tiny(photos, tmp_path / "run", settings={"views.grid": grid}, epochs=1, batch_size=4)

    plan = run.read_json("run.json")["plan"]
    assert plan["views_per_step"] == 4 * 2 * blocks
    assert len(seen) == 4 * 2  # steps, and [p1, z2] and [p2, z1] in each
    for z, ids, loss in seen:
        images_seen, vectors = torch.unique(ids, return_counts=True)
        assert len(images_seen) == 4
        assert vectors.tolist() == [2 * blocks] * 4  # so that |P| = 2 x blocks - 1
        expected = contrastive.image_aware_terms(z.numpy(), ids.numpy(), temperature=0.3, form="outside").mean()
        assert loss == pytest.approx(expected, rel=1e-4)


def test_learning_rate_follows_the_blocks(photos: Path, tmp_path: Path) -> None:
    rates = {}
    for rows, columns in [(2, 2), (3, 4)]:
        settings = {"views.grid": [rows, columns], "training.schedule": "constant"}
        run = train_tiny(photos, tmp_path / f"{rows}{columns}", settings=settings, epochs=1)
        rates[rows * columns] = run.read_metrics()[-1]["learning_rate"]
    assert rates[12] == pytest.approx(3 * rates[4])
    assert rates[4] == pytest.approx(0.05 * 4 * 4 / 256)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        (["views.grid=[0,4]"], r"^views\.grid \(--set\) must be greater than or equal to 1, not 0$"),
        (["views.grid=[2]"], r"views\.grid .*too few values"),
        (["views.grid=[2,2,2]"], r"views\.grid .*too many values, 2 at most"),
        (["views.grid=4"], r"views\.grid .*must be a valid tuple, not 4"),
        (["views.grid=[2.5,2]"], r"views\.grid .*must be a valid integer, not 2\.5"),
        (["views.kind=whole", "views.grid=[3,3]"], r"views\.grid .*is read only with views\.kind=blocks"),
    ],
)
def test_grid_that_is_none(photos: Path, tmp_path: Path, settings: list[str], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        pretrain(photos, tmp_path / "run", set=settings, quiet=True)
    assert not (tmp_path / "run").exists()


def test_paper_160_is_the_paper_at_another_size() -> None:
    """Half the work for a network: (160/224)^2 = 51 % of the pixels."""
    paper, smaller = (
        resolve(recipe_settings(name), [Assignment("data.images", "photos", "images")]).model_dump()
        for name in ("paper", "paper-160")
    )
    assert (paper.pop("recipe"), smaller.pop("recipe")) == ("paper", "paper-160")
    assert (paper["views"].pop("size"), smaller["views"].pop("size")) == (224, 160)
    assert smaller == paper
