"""The definitions of OF1 and CF1 against the figures of arXiv 2506.23156, Tables 1, 2, 4 and 5."""

from __future__ import annotations

import numpy as np
import pytest

from manyview.evaluation.metrics.decisions import f1

# mAP OP OR OF1 CP CR CF1 of each row, in percent.
TABLES = {
    "Table 1": """
        35.5 86.6 17.9 29.7 32.1 5.7 9.7
        41.1 93.4 13.9 24.2 19.5 1.3 2.5
        45.0 91.5 13.5 23.5 9.5 1.1 2.0
        47.9 88.7 11.8 20.8 1.21 0.8 1.0
        50.9 85.9 33.9 48.6 74.0 24.6 36.9
        54.3 88.3 38.0 53.2 75.1 27.2 40.0
        56.5 90.0 35.8 51.2 80.8 25.5 38.7
        56.6 89.7 36.7 52.1 80.3 26.3 39.6
        57.2 88.3 38.0 53.2 75.1 27.2 40.0
        60.2 87.7 42.5 57.2 77.5 33.9 47.1
        62.0 88.0 43.1 57.9 80.0 35.6 49.3
        62.3 88.2 43.8 58.5 81.4 35.7 49.7
        63.3 88.6 44.5 59.3 83.0 37.0 51.2
        64.0 88.6 45.6 60.2 83.1 38.3 52.4""",
    "Table 2": """
        38.8 94.3 11.3 20.1 2.5 0.8 1.2
        42.2 85.6 27.1 41.2 59.7 14.5 23.4
        44.3 89.3 12.0 21.2 2.2 0.8 1.2
        47.3 93.6 10.3 18.6 1.2 0.7 0.9
        52.3 86.4 35.8 50.7 71.6 25.6 37.7
        56.0 91.1 34.0 49.5 79.0 23.5 36.2
        58.8 89.0 39.8 55.0 74.1 29.0 41.7
        61.1 91.1 39.3 54.9 76.2 28.7 41.7
        63.3 91.0 42.4 57.8 82.2 32.0 46.1
        66.2 90.0 47.6 62.3 84.8 40.5 54.8
        66.7 90.7 48.0 62.8 86.0 40.6 55.2
        67.9 91.0 48.1 62.9 85.0 41.6 55.8
        68.1 90.0 50.2 64.4 83.9 43.6 57.4
        68.5 90.1 50.6 64.8 83.7 43.7 57.4""",
    "Table 4": """
        45.6 84.5 28.8 43.0 63.8 16.5 26.3
        51.0 85.7 33.1 47.8 68.1 21.5 32.6
        54.3 88.3 38.0 53.2 75.1 27.2 40.0
        55.5 88.6 36.6 51.8 74.0 25.8 38.3
        54.7 88.6 36.0 51.2 71.7 25.0 37.0""",
    "Table 5": """
        53.3 87.1 34.7 49.6 69.0 23.3 34.8
        54.3 88.3 38.0 53.2 75.1 27.2 40.0
        52.1 87.0 34.0 48.8 70.5 22.4 33.9
        39.6 84.7 23.3 36.6 48.0 11.1 17.9""",
}
ROWS = {name: np.array([row.split() for row in text.split("\n") if row], dtype=float) for name, text in TABLES.items()}


@pytest.mark.parametrize("table", ROWS)
def test_f1_follows_from_precision_and_recall(table: str) -> None:
    _, op, or_, of1, cp, cr, cf1 = ROWS[table].T
    np.testing.assert_allclose(100 * f1(op / 100, or_ / 100), of1, atol=0.15, rtol=0)
    np.testing.assert_allclose(100 * f1(cp / 100, cr / 100), cf1, atol=0.15, rtol=0)


def test_one_row_of_table_1_repeats_the_precision_recall_and_f1_of_another() -> None:
    """Two models that differ in mAP agree in the six other figures: one row was copied."""
    repeated = [
        (name, float(first[0]), float(second[0]))
        for name, rows in ROWS.items()
        for i, first in enumerate(rows)
        for second in rows[i + 1 :]
        if first[0] != second[0] and (first[1:] == second[1:]).all()
    ]
    assert repeated == [("Table 1", 54.3, 57.2)]
    # The row of 54.3 stands in Tables 4 and 5 too, as the default of both: 57.2's six figures are the copy.
    assert all((ROWS[name] == ROWS["Table 1"][5]).all(axis=1).any() for name in ("Table 4", "Table 5"))
    assert not any((ROWS[name][:, 0] == 57.2).any() for name in ("Table 2", "Table 4", "Table 5"))
