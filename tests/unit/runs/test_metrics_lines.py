"""Lines of metrics.jsonl: what a flipped bit or a cut costs."""

from __future__ import annotations

import math
from pathlib import Path

from manyview.runs import RunFolder
from manyview.runs.metrics_log import read_lines, to_line

RECORDS = [{"step": step, "kind": "quality", "knn": 0.1 * step, "nöte": None} for step in range(1, 5)]


def test_records_come_back(tmp_path: Path) -> None:
    odd = {"step": 5, "loss": math.inf, "list": [1, {"a": 2}]}
    (tmp_path / "m").write_text("".join(map(to_line, [*RECORDS, odd])))
    assert read_lines(tmp_path / "m") == ([*RECORDS, odd], [])
    assert read_lines(tmp_path / "missing") == ([], [])


def test_a_flipped_bit_costs_its_line_alone(tmp_path: Path) -> None:
    file = tmp_path / "m"
    before = "".join(map(to_line, RECORDS)).encode()
    for bit in range(len(to_line(RECORDS[0])) * 8, 8 * len(before), 11):  # from the second line on
        data = bytearray(before)
        data[bit // 8] ^= 1 << bit % 8
        file.write_bytes(data)
        records, damaged = read_lines(file)
        line = before[: bit // 8].count(b"\n")
        lost = {line, line + 1} if before[bit // 8 :].startswith(b"\n") else {line}
        assert [record for record in records if record not in RECORDS] == []
        assert {index for index, record in enumerate(RECORDS) if record not in records} <= lost
        assert len(records) == len(RECORDS) or damaged or lost >= {len(RECORDS) - 1}


def test_earlier_lines_have_no_checksum(tmp_path: Path) -> None:
    (tmp_path / "m").write_text(
        '{"step": 1}\n{"step": 2}\n' + to_line({"step": 3}) + '{"step": 4}\n' + to_line({"step": 5})
    )
    records, damaged = read_lines(tmp_path / "m")
    assert [record["step"] for record in records] == [1, 2, 3, 5]
    assert damaged == [4]


def test_damage_amid_the_file_is_reported_and_all_else_kept(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    for record in RECORDS:
        folder.append_metrics(record)
    lines = folder.metrics_file.read_text().splitlines(keepends=True)
    folder.metrics_file.write_text("".join([lines[0], lines[1].replace("0.2", "0.9"), *lines[2:]]))
    assert (
        folder.drop_metrics_after(3) == f"line 2 of {folder.metrics_file} is damaged and left out; all others are kept"
    )
    assert folder.read_metrics() == [RECORDS[0], RECORDS[2]]
    assert folder.drop_metrics_after(3) == ""
