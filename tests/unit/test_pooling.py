from __future__ import annotations

import numpy as np
import pytest
import torch

from manyview.errors import UserError
from manyview.pooling import KINDS, pool


def expected_pool(features: np.ndarray, kind: str) -> np.ndarray:
    rows = []
    for image in features:
        average = np.array([channel.sum() / channel.size for channel in image])
        maximum = np.array([max(channel.ravel()) for channel in image])
        rows.append(
            {
                "gamp": (average + maximum) / 2,
                "avg": average,
                "max": maximum,
                "avg_minus_max": (average - maximum) / 2,
                "cat": np.concatenate((average, maximum)),
            }[kind]
        )
    return np.stack(rows)


@pytest.mark.parametrize("shape", [(2, 3, 4, 5), (1, 1, 1, 1), (3, 2, 7, 1)])
@pytest.mark.parametrize("kind", KINDS)
def test_each_pooling_equals_its_definition(kind: str, shape: tuple[int, ...]) -> None:
    features = np.random.default_rng(0).normal(size=shape)
    pooled = pool(torch.from_numpy(features), kind)
    np.testing.assert_allclose(pooled.numpy(), expected_pool(features, kind), rtol=1e-12, atol=1e-14)


def test_default_is_gamp() -> None:
    features = torch.arange(8, dtype=torch.float64).reshape(1, 2, 2, 2)
    assert pool(features).tolist() == [[(1.5 + 3) / 2, (5.5 + 7) / 2]]


def test_unknown_kind_lists_the_known_ones() -> None:
    with pytest.raises(UserError, match="unknown pooling 'gap'; choose one of gamp, avg, max, avg_minus_max, cat"):
        pool(torch.zeros(1, 1, 1, 1), "gap")
