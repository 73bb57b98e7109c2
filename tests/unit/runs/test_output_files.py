"""Places for results: made if need be, refused before any work where they are taken."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from manyview.errors import UserError
from manyview.runs.files import claim_files, claim_folder, make_folder


def test_folders_are_made_and_may_hold_other_files(tmp_path: Path) -> None:
    (tmp_path / "other.json").touch()
    claim_folder(tmp_path, "metrics.json")
    claim_folder(tmp_path / "a" / "b", "metrics.json")
    claim_files(tmp_path / "c" / "d.npz", (".npz",), tmp_path / "c" / "d.json")
    assert (tmp_path / "a" / "b").is_dir()
    assert list((tmp_path / "c").iterdir()) == []


def test_no_result_is_written_over(tmp_path: Path) -> None:
    (tmp_path / "table.csv").touch()
    with pytest.raises(UserError, match=r"already holds a table\.csv: choose another folder"):
        claim_folder(tmp_path, "metrics.json", "table.csv")
    with pytest.raises(UserError, match=r"table\.csv already exists: choose another name"):
        claim_files(tmp_path / "new.csv", (".csv",), tmp_path / "table.csv")
    (tmp_path / "link.csv").symlink_to(tmp_path / "nowhere")
    with pytest.raises(UserError, match=r"link\.csv already exists"):
        claim_files(tmp_path / "link.csv", (".csv",))


def test_another_ending_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"a\.txt must end in \.npz or \.parquet"):
        claim_files(tmp_path / "a.txt", (".npz", ".parquet"))


def test_a_folder_that_cannot_be_made_or_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="file is a file: choose a folder for the output"):
        make_folder(tmp_path / "file")
    with pytest.raises(UserError, match=r"cannot make the folder .*below: Not a directory"):
        make_folder(tmp_path / "file" / "below")
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(UserError, match="no permission to write into"):
        make_folder(tmp_path)
