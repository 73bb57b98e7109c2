"""Which views predict which targets, and the mean cross-entropy over them, against loops in NumPy."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from manyview.methods import MethodBatch
from manyview.methods.swapped import by_image, cross_entropy, entropy, predictors
from references import clustering as reference

CPU = torch.device("cpu")


def test_a_single_group_is_predicted_in_pairs() -> None:
    assert predictors([4], CPU).int().tolist() == [[0, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 1], [0, 0, 1, 0]]


def test_all_views_predict_the_first_of_several_groups() -> None:
    assert predictors([2, 2], CPU).int().tolist() == [[0, 1, 1, 1], [1, 0, 1, 1]]
    # Two views of each of two blocks, then four small ones: every target has seven predictors.
    mask = predictors([4, 4], CPU)
    assert mask.sum(dim=1).tolist() == [7] * 4
    assert not mask.diagonal().any()


@pytest.mark.parametrize("counts", [(4,), (2, 6), (4, 2)])
def test_the_mean_is_over_targets_and_predictors(counts: tuple[int, ...]) -> None:
    generator = torch.Generator().manual_seed(0)
    targets = torch.randn(3, counts[0], 5, generator=generator).double().softmax(-1)
    logits = torch.randn(3, sum(counts), 5, generator=generator).double()

    loss = cross_entropy(targets, logits.log_softmax(-1), predictors(counts, CPU))

    expected = reference.swapped(targets.numpy(), logits.softmax(-1).numpy(), len(counts))
    assert loss.item() == pytest.approx(expected, rel=1e-12)


def test_rows_of_all_groups_come_together_by_image() -> None:
    """A row's number tells its group, image and view."""
    groups = (torch.zeros(3, 2, 1), torch.zeros(3, 4, 1))
    rows = [
        100 * group + 10 * image + view
        for group, count in ((0, 2), (1, 4))
        for image in range(3)
        for view in range(count)
    ]
    batch = MethodBatch(groups, torch.arange(3), lambda count: torch.arange(count))
    found = by_image(torch.tensor(rows)[:, None].float(), batch)[..., 0]
    assert found[1].tolist() == [10, 11, 110, 111, 112, 113]


def test_entropy_is_that_of_the_definition() -> None:
    q = torch.tensor([[[0.5, 0.5, 0.0], [1.0, 0.0, 0.0]]])
    assert entropy(q).item() == pytest.approx(np.log(2) / 2)
