from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from manyview.config import PretrainConfig
from manyview.errors import UserError
from manyview.images import find_images
from manyview.training.data import ViewDataset
from manyview.training.plan import replacements
from tests.helpers.image_files import png
from tests.helpers.tiny import skipped_reasons, train_tiny, write_images

HALF = {"data.max_bad_fraction": 0.5}


def bomb() -> bytes:
    """A PNG whose header promises 30000 x 30000 pixels."""
    return png(np.zeros((18, 18, 3), np.uint8), (30000, 30000))


@pytest.fixture
def spoilt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Sixteen good images, and one bad file of each type."""
    folder = write_images(tmp_path / "photos")
    jpeg = (folder / "00.jpg").read_bytes()
    (folder / "truncated.jpg").write_bytes(jpeg[: len(jpeg) // 2])
    (folder / "empty.jpg").write_bytes(b"")
    (folder / "text.jpg").write_text("not an image\n" * 20)
    (folder / "bomb.png").write_bytes(bomb())
    (folder / "dangling.jpg").symlink_to(tmp_path / "gone.jpg")
    (folder / "locked.jpg").write_bytes(jpeg)
    opened = Path.open

    def guarded(path: Path, *mode: Any, **options: Any) -> Any:
        if path.name == "locked.jpg":  # whoever runs the tests may be allowed to read everything
            raise PermissionError(13, "Permission denied")
        return opened(path, *mode, **options)

    monkeypatch.setattr(Path, "open", guarded)
    return folder


REASONS = {
    "truncated.jpg": "truncated file",
    "empty.jpg": "empty file",
    "text.jpg": "not an image of a known format",
    "bomb.png": "too large: 30000 x 30000 pixels",
    "dangling.jpg": "dangling link",
    "locked.jpg": "no read permission",
}


def test_each_kind_is_skipped_counted_and_listed(
    spoilt: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = train_tiny(spoilt, tmp_path / "run", settings=HALF, batch_size=22, epochs=1, quiet=False)

    assert skipped_reasons(run.path) == REASONS
    assert run.read_json("run.json")["plan"]["photographs"] == 22
    assert "6 of 22 images could not be read and were replaced; see" in capsys.readouterr().err


def test_bad_files_are_replaced_the_same_with_any_number_of_workers(spoilt: Path, tmp_path: Path) -> None:
    runs = [
        train_tiny(spoilt, tmp_path / str(workers), settings={**HALF, "data.workers": workers}) for workers in (0, 2)
    ]

    first, second = (run.weights.read_bytes() for run in runs)
    assert first == second
    assert skipped_reasons(runs[0].path) == skipped_reasons(runs[1].path) != {}
    steps = [record["loss"] for record in runs[0].read_metrics()]
    assert steps == [record["loss"] for record in runs[1].read_metrics()]


def test_the_first_readable_of_an_epochs_own_replacements_stands_in(spoilt: Path) -> None:
    config = PretrainConfig.model_validate({"data": {"images": str(spoilt)}, "training": {"seed": 3}})
    files = find_images(spoilt)
    bad = [index for index in range(len(files)) if files.path(index).name in REASONS]
    dataset = ViewDataset(files, config, renderer="cpu")
    found = []
    for epoch in range(12):
        drawn = [bad[0], *map(int, replacements(3, epoch, bad[0], len(files), 32))]
        first = next(number for number, image in enumerate(drawn) if image not in bad)
        sample = dataset[epoch, bad[0]]
        assert (sample.image, [image for image, _ in sample.skipped]) == (drawn[first], drawn[:first])
        found.append(sample.image)
    assert len(set(found)) > 3


def test_batches_stay_whole(spoilt: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bad image is replaced by another: each step has as many views as without it."""
    import manyview.training.data as data

    sizes: list[int] = []
    original: Any = data.normalize

    def counting(views: Any, *statistics: Any) -> Any:
        sizes.append(len(views))
        return original(views, *statistics)

    monkeypatch.setattr(data, "normalize", counting)
    train_tiny(spoilt, tmp_path / "run", settings=HALF, batch_size=22, epochs=3)

    assert sizes == [22, 22, 22]


def test_above_the_limit_the_run_stops_and_names_files(spoilt: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        train_tiny(spoilt, tmp_path / "run")

    sentence = str(caught.value)
    assert "of 22 images cannot be read" in sentence
    assert "above the limit of 5%" in sentence
    listed = skipped_reasons(tmp_path / "run")
    assert 0 < len(listed) <= 7
    assert all(f"{name} ({REASONS[name]})" in sentence for name in sorted(listed)[:5])
    assert str(tmp_path / "run" / "skipped.csv") in sentence

    # Raised as the sentence advises, the limit lets the same run go on.
    run = train_tiny(None, tmp_path / "run", settings=HALF, resume=True)
    assert run.read_metrics()[-1]["step"] == run.read_json("run.json")["plan"]["steps"]


def test_more_than_five_names_are_counted(tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    for index in range(8):
        (folder / f"{index}.jpg").write_bytes(b"")

    with pytest.raises(UserError, match=r"8 of 8 images cannot be read, 100\.0%, .* 4\.jpg \(empty file\) and 3 more"):
        train_tiny(folder, tmp_path / "run", settings={"data.max_bad_fraction": 1.0})


def test_no_limit_lets_a_few_good_ones_do_all_the_work(tmp_path: Path) -> None:
    folder = write_images(tmp_path / "photos", 12)
    for index in range(8):
        (folder / f"{index:02d}.jpg").write_bytes(b"")

    run = train_tiny(folder, tmp_path / "run", settings={"data.max_bad_fraction": 1.0}, batch_size=12)

    assert len(skipped_reasons(run.path)) == 8


def test_good_images_leave_no_list(photos: Path, tmp_path: Path) -> None:
    run = train_tiny(photos, tmp_path / "run", epochs=1)

    assert not (run.path / "skipped.csv").exists()
