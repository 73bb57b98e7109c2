from __future__ import annotations

import pickle
from dataclasses import fields, replace

import numpy as np
import pytest

from manyview.config import BlockViewsConfig
from manyview.views import ColorJitter, sample_views
from manyview.views.render.batch_parameters import COLOR_OPERATIONS, join_tables, view_table

CONFIG = BlockViewsConfig(jitter=0.5, grayscale=0.3, solarize=(0.4, 0.4))
PARAMETERS = [view for image in range(4) for view in sample_views(CONFIG, 90, 70, seed=0, epoch=0, image=image)]


def test_a_row_says_what_the_parameters_say() -> None:
    table = view_table(PARAMETERS)
    assert len(table) == len(PARAMETERS) == 32
    for row, view in enumerate(PARAMETERS):
        names = tuple(COLOR_OPERATIONS[code] for code in table.order[row] if code >= 0)
        assert names == (view.jitter.order if view.jitter else ())
        if view.jitter:
            strengths = dict(zip(COLOR_OPERATIONS, table.strength[row], strict=True))
            assert strengths == {name: getattr(view.jitter, name) for name in COLOR_OPERATIONS}
        assert table.grayscale[row] == view.grayscale
        assert table.solarize[row] == view.solarize
        assert table.flip[row] == view.flip
        assert table.blur_sigma[row] == (view.blur_sigma or 0)
    for column in (table.grayscale, table.solarize, table.flip, table.blur_sigma > 0, table.order[:, 0] < 0):
        assert 0 < column.sum() < 32


def test_a_jitter_of_fewer_operations_ends_early() -> None:
    some = replace(PARAMETERS[0], jitter=ColorJitter(("hue", "brightness"), 0.7, 1.0, 1.0, 0.02))
    table = view_table([some, replace(some, jitter=None)])
    assert table.order.tolist() == [[3, 0, -1, -1], [-1, -1, -1, -1]]


def test_joined_tables_are_the_table_of_all() -> None:
    joined = join_tables([view_table(PARAMETERS[:5]), view_table([]), view_table(PARAMETERS[5:])])
    for field in fields(joined):
        np.testing.assert_array_equal(getattr(joined, field.name), getattr(view_table(PARAMETERS), field.name))


def test_it_is_small_on_its_way_from_a_worker() -> None:
    assert len(pickle.dumps(view_table(PARAMETERS * 32))) < 64 * len(PARAMETERS) * 32


def test_unknown_operation_is_our_mistake() -> None:
    with pytest.raises(AssertionError, match="sharpness"):
        view_table([replace(PARAMETERS[0], jitter=ColorJitter(("sharpness",), 1.0, 1.0, 1.0, 0.0))])
