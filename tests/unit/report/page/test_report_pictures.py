"""Pictures of the report: of which images they are, and what is said of those that are others than the run's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from manyview.recipes import resolve_settings
from manyview.report.page.pictures.images import files_of
from manyview.report.page.reading.run import read_run
from manyview.report.page.sections.pictures import dense, views
from manyview.report.page.sections.section import Material
from manyview.runs import RunFolder
from manyview.runs.progress import no_progress
from manyview.training.targets import find_labeled_images
from tests.helpers.reports import PLAN
from tests.helpers.tiny import write_images

VERY, OTHERS = "These are the very views", "The images are no longer those"


@pytest.fixture
def photographs(tmp_path: Path) -> Path:
    return write_images(tmp_path / "photographs", 4)


def recorded(folder: Path, images: Path, **options: Any) -> Material:
    """A run that has been recorded, without weights, as a report is made of it."""
    folder.mkdir()
    settings: dict[str, Any] = {"recipe": "simsiam", "backbone": "timm/test_resnet", "view_size": 16, **options}
    config = resolve_settings(images, steps=4, batch_size=2, **settings)
    files, targets = find_labeled_images(config)
    data = {"photographs": len(files), "fingerprint": files.fingerprint()}
    data |= {} if targets is None else {"labels_sha256": targets.fingerprint}
    run = RunFolder(folder)
    run.write_json("config.json", config.model_dump(mode="json"))
    run.write_json("run.json", {"plan": PLAN, "data": data})
    return Material((read_run(folder, folder.name),), ((),), count=1)


def test_views_are_the_runs_only_where_its_images_are_the_same(photographs: Path, tmp_path: Path) -> None:
    material = recorded(tmp_path / "run", photographs)
    assert VERY in views(material)
    write_images(tmp_path / "more", 5).joinpath("04.jpg").rename(photographs / "another.jpg")
    assert OTHERS in views(material)
    assert VERY not in views(material)


def test_images_of_a_run_that_learned_from_labels_are_those_that_they_name(photographs: Path, tmp_path: Path) -> None:
    labels = tmp_path / "labels.csv"
    labels.write_text("photo,class\n03.jpg,cat\n01.jpg,dog|cat\n")
    data = {"data.labels": str(labels), "data.image_column": "photo", "data.label_column": "class"}
    material = recorded(tmp_path / "run", photographs, recipe="supervised", set=data)
    assert list(files_of(material.runs[0], None)) == ["03.jpg", "01.jpg"]
    assert VERY in views(material)
    listed = tmp_path / "list.txt"
    listed.write_text("01.jpg\n")
    of_list = recorded(tmp_path / "of-list", photographs, recipe="supervised", set=data, list=listed)
    assert list(files_of(of_list.runs[0], None)) == ["01.jpg"]
    labels.unlink()
    assert "The views are not drawn: " in views(material)


def test_runs_on_other_lists_have_other_views(photographs: Path, tmp_path: Path) -> None:
    for name, images in (("one", "00.jpg\n01.jpg\n"), ("two", "02.jpg\n03.jpg\n")):
        (tmp_path / f"{name}.txt").write_text(images)
    one, two, again = (
        recorded(tmp_path / name, photographs, list=tmp_path / f"{name.split()[0]}.txt").runs[0]
        for name in ("one", "two", "one again")
    )
    page = views(Material((one, two, again), ((), (), ()), count=1))
    assert "one again has the same views." in page
    assert "two has the same views." not in page


def test_images_that_cannot_be_read_are_a_sentence(photographs: Path, tmp_path: Path) -> None:
    material = recorded(tmp_path / "run", photographs)
    for file in photographs.iterdir():
        file.write_bytes(b"no image")
    for made in (views(material), dense(material, no_progress)):
        assert "none of the images that were tried can be read" in made
