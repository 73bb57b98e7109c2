"""What a look at images and labels finds, in a folder with one fault of each type."""

from __future__ import annotations

import csv
import json
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from manyview.errors import UserError
from manyview.recipes.check import check_images
from manyview.recipes.check.labels import alike
from tests.unit.recipes.check.test_duplicates import picture

COUNT = 12


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Twelve sound JPEGs, a.jpg to l.jpg."""
    (tmp_path / "photos").mkdir()
    for number in range(COUNT):
        Image.fromarray(picture(number)).save(tmp_path / "photos" / f"{'abcdefghijkl'[number]}.jpg", quality=90)
    return tmp_path / "photos"


def written(file: Path, rows: Sequence[tuple[str, str]]) -> Path:
    with file.open("w", newline="") as stream:
        csv.writer(stream).writerows([("image", "labels"), *rows])
    return file


def look(folder: Path, *labels: Path, **options: Any) -> dict[str, Any]:
    result = check_images(folder, labels=labels, pace=False, view_size=32, **options)
    json.dumps(result, allow_nan=False)
    found: dict[str, Any] = result["results"]
    return found


def said(results: dict[str, Any], weight: str) -> str:
    return "\n".join(each["sentence"] for each in results["findings"] if each["weight"] == weight)


def test_nothing_is_in_the_way_of_sound_images(folder: Path, tmp_path: Path) -> None:
    rows = [(f"{letter}.jpg", "cat|dog" if letter in "ace" else "cat") for letter in "abcdef"]
    train = written(tmp_path / "train.csv", rows)
    val = written(tmp_path / "val.csv", [(f"{letter}.jpg", "cat|dog") for letter in "ghijkl"])
    results = look(folder, train, val)
    assert results["verdict"] == "fine"
    assert results["findings"] == []
    assert results["images"] == results["looked_at"] == COUNT
    assert results["formats"] == [{"format": "JPEG", "channels": "RGB", "bits": 8, "images": COUNT}]
    assert results["sizes"]["width"] == {"lowest": 160, "median": 160, "highest": 160}
    assert sum(bar["images"] for bar in results["sizes"]["shorter sides"]) == COUNT
    assert [each["classes"] for each in results["labels"]] == [{"cat": 6, "dog": 3}, {"cat": 6, "dog": 6}]
    assert results["bytes"] == sum(file.stat().st_size for file in folder.iterdir())
    assert results["machine"]["cores"] >= 1
    assert results["machine"]["disk_free"] > 0


def test_formats_channels_and_depths(folder: Path) -> None:
    gray = np.asarray(Image.fromarray(picture(20)).convert("L"))
    Image.fromarray(gray).save(folder / "gray.png")
    Image.fromarray(gray.astype(np.uint16) * 16).save(folder / "deep.png")
    transparent = Image.fromarray(picture(21))
    transparent.putalpha(128)
    transparent.save(folder / "alpha.webp", lossless=True)
    Image.fromarray(picture(22)).convert("CMYK").save(folder / "print.jpg")
    Image.fromarray(picture(23)).quantize(16).save(folder / "few.gif")
    Image.fromarray(picture(24)).save(folder / "plain.tif")
    results = look(folder)
    found = {(row["format"], row["channels"], row["bits"]): row["images"] for row in results["formats"]}
    assert found == {
        ("JPEG", "RGB", 8): COUNT,
        ("JPEG", "CMYK", 8): 1,
        ("PNG", "gray", 8): 1,
        ("PNG", "gray", 16): 1,
        ("WEBP", "RGB with alpha", 8): 1,
        ("GIF", "palette", 8): 1,
        ("TIFF", "RGB", 8): 1,
    }
    assert "data.bit_depth=12" in said(results, "spoils")


def test_unreadable_blank_and_other_files(folder: Path) -> None:
    whole = (folder / "a.jpg").read_bytes()
    (folder / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    Image.new("RGB", (64, 64), "red").save(folder / "red.png")
    (folder / "film.mp4").write_bytes(b"x")
    results = look(folder)
    assert results["verdict"] == "stops"
    assert "1 image cannot be read, above the 0.05 that a run accepts" in said(results, "stops")
    assert "cut.jpg (truncated file)" in said(results, "stops")
    assert results["unreadable"] == [{"image": "cut.jpg", "reason": "truncated file"}]
    assert "1 image of a single color: red.png" in said(results, "note")
    assert "1 file of other formats left out (1 .mp4)" in said(results, "note")
    accepted = look(folder, set=["data.max_bad_fraction=0.5"])
    assert accepted["verdict"] == "fine"
    assert "cut.jpg (truncated file)" in said(accepted, "note")


def test_copies_within_and_across_label_files(folder: Path, tmp_path: Path) -> None:
    (folder / "same.jpg").write_bytes((folder / "a.jpg").read_bytes())
    Image.fromarray(picture(1)).resize((80, 60)).save(folder / "small.jpg", quality=70)
    Image.fromarray(picture(2)[:, ::-1].copy()).save(folder / "turned.png")
    train = written(tmp_path / "train.csv", [(f"{letter}.jpg", "cat") for letter in "abcde"])
    val = written(tmp_path / "val.csv", [(name, "cat") for name in ("same.jpg", "small.jpg", "turned.png", "e.jpg")])
    results = look(folder, train, val)
    assert results["duplicates"]["identical"] == [{"images": ["a.jpg", "same.jpg"]}]
    assert results["duplicates"]["same_picture"] == [
        {"images": ["b.jpg", "small.jpg"], "mirrored": False},
        {"images": ["c.jpg", "turned.png"], "mirrored": True},
    ]
    assert results["leaks"] == [
        {
            "files": [str(train), str(val)],
            "named_in_both": ["e.jpg"],
            "identical": [["a.jpg", "same.jpg"]],
            "same_picture": [["b.jpg", "small.jpg"], ["c.jpg", "turned.png"]],
        }
    ]
    assert results["verdict"] == "spoils"
    spoils = said(results, "spoils")
    assert "name the same images, 1 in all, such as e.jpg" in spoils
    assert "name images with the same bytes, 1 in all, such as a.jpg = same.jpg" in spoils
    assert "name images that show the same, 2 in all, such as b.jpg = small.jpg" in spoils
    assert look(folder, train)["leaks"] == []


def test_suspicious_labels(folder: Path, tmp_path: Path) -> None:
    (folder / "bad.jpg").write_text("text")
    rows = [("a.jpg", "cat"), ("b.jpg", "Cat"), ("c.jpg", "traffic light"), ("d.jpg", "traffic_light"), ("e.jpg", "")]
    train = written(tmp_path / "train.csv", [*rows, ("gone.jpg", "cat"), ("f.jpg", "cat"), ("f.jpg", "dog")])
    val = written(tmp_path / "val.csv", [("g.jpg", "cat|zebra"), ("bad.jpg", "cat")])
    results = look(folder, train, val)
    stops, notes, spoils = (said(results, weight) for weight in ("stops", "note", "spoils"))
    assert "2 entries that cannot be used" in stops
    assert "gone.jpg, which is missing" in stops
    assert "give f.jpg different labels" in stops
    assert f"{val}: 1 image with labels cannot be read: bad.jpg" in stops
    assert f"{val} has classes that {train} lacks: zebra" in stops
    assert "Cat = cat" in spoils
    assert "traffic light = traffic_light" in spoils
    assert f"{train}: 1 image without any label" in notes
    assert "with a single image" in notes
    assert "in no label file" in notes


def test_boxes(folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "boxes.json"
    images = [{"id": k, "file_name": f"{'abc'[k]}.jpg", "width": 160, "height": 120} for k in range(3)]
    boxes = [(0, [10, 10, 50, 50]), (0, [500, 10, 50, 50]), (1, [10, 10, 0, 20]), (2, [100, 100, 80, 80])]
    annotations = [
        {"id": number, "image_id": image, "category_id": 1, "bbox": box} for number, (image, box) in enumerate(boxes)
    ]
    categories = [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}]
    file.write_text(json.dumps({"images": images, "annotations": annotations, "categories": categories}))
    results = look(folder, file)
    assert results["labels"][0]["objects"] == 3
    assert "outside of its 160 x 120 pixels" in said(results, "stops")
    assert "left out of training for having no area" in said(results, "note")
    assert "cut to the image for training" in said(results, "note")
    assert "1 class without an image (dog)" in said(results, "note")


def test_a_sample_is_decoded_and_all_are_compared_by_their_bytes(folder: Path) -> None:
    for number in range(6):
        (folder / f"copy{number}.jpg").write_bytes((folder / f"{'abcdef'[number]}.jpg").read_bytes())
    results = look(folder, sample=4)
    assert (results["images"], results["looked_at"]) == (18, 4)
    assert sum(row["images"] for row in results["formats"]) == 4
    assert len(results["duplicates"]["identical"]) == 6
    assert look(folder, sample=4, seed=1)["sizes"] == results["sizes"]
    with pytest.raises(UserError, match="sample is 1"):
        look(folder, sample=1)


def test_bands(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    (tmp_path / "bands").mkdir()
    for number in range(3):
        np.save(tmp_path / "bands" / f"{number}.npy", rng.integers(0, 60000, (40, 50, 5), dtype=np.uint16))
    np.save(tmp_path / "bands" / "other.npy", np.zeros((40, 50, 4), np.uint16))
    results = look(tmp_path / "bands", set=["data.bands=5"])
    assert results["formats"] == [{"format": "NumPy", "channels": "5 bands", "bits": 16, "images": 3}]
    assert results["unreadable"][0]["image"] == "other.npy"


def test_large_views_are_said(folder: Path) -> None:
    results = check_images(folder, pace=False, view_size=224)["results"]
    assert "at most 120 pixels, so that views of 224 pixels are enlarged" in said(results, "note")


def test_names_of_the_same_class() -> None:
    names = ["traffic light", "Traffic_Light", "traffic-light", "cat", "cats", "CAT", "+", "-"]
    assert alike(names) == [["CAT", "cat"], ["Traffic_Light", "traffic light", "traffic-light"]]


def test_the_forecast_is_of_the_run(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("manyview.recipes.check.forecast.measure_step", lambda *_: 0.5)
    shown: list[tuple[int, int, str]] = []
    (folder / "bad.jpg").write_text("text")
    options: dict[str, Any] = {"recipe": "simsiam", "backbone": "timm/test_resnet", "view_size": 32, "batch_size": 4}
    more: dict[str, Any] = {"set": ["data.max_bad_fraction=0.5"], "progress": lambda *done: shown.append(done)}
    results = check_images(folder, epochs=10, **more, **options)["results"]
    assert [each for each in shown if each[2] == "measuring the memory"][-1] == (3, 3, "measuring the memory")
    expected = results["expected"]
    assert expected["steps"] == 10 * (COUNT // 4)  # of the images that can be read
    assert expected["views"] == expected["steps"] * 4 * 2
    assert expected["hours"] == pytest.approx(expected["steps"] * 0.5 / 3600)
    assert expected["shared_memory"] == results["machine"]["workers"] * 2 * 4 * 2 * 32 * 32 * 3
    assert expected["memory"] > 0
    tight = {"cores": 1, "workers": 1, "device": "cpu", "memory": 1000, "shared_memory_free": 10, "disk_free": 10}
    monkeypatch.setattr("manyview.recipes.check.check.machine", lambda *_: tight)
    stops = said(check_images(folder, epochs=10, **options)["results"], "stops")
    assert "of memory, of which there are 1 kB" in stops
    assert "of space on this disk, of which there are 0.01 kB" in stops
    assert "shared memory (/dev/shm)" in stops


@pytest.mark.parametrize(
    "settings",
    [
        {"recipe": "continue", "steps": 20, "set": ["data.workers=0"]},
        {
            "recipe": "simsiam",
            "epochs": 9,
            "set": ["data.workers=0", "training.schedule=step", "training.milestones=[8]"],
        },
    ],
)
def test_a_few_steps_are_measured_of_whatever_the_run_schedules(folder: Path, settings: dict[str, Any]) -> None:
    results = check_images(folder, backbone="timm/test_resnet", view_size=32, batch_size=4, **settings)["results"]
    assert results["refused"] == ""
    assert results["expected"]["seconds_per_step"] > 0


def test_a_schedule_that_the_run_has_no_room_for_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("manyview.recipes.check.forecast.measure_step", lambda *_: 0.5)
    results = check_images(folder, backbone="timm/test_resnet", recipe="continue", batch_size=4, steps=15)["results"]
    assert "the backbone is frozen for 15 steps, but the whole run has 15" in said(results, "stops")


@pytest.mark.parametrize(("view_size", "precision"), [(32, "bf16"), (16, "float32")])
def test_memory_is_that_of_the_runs_own_precision(
    folder: Path, monkeypatch: pytest.MonkeyPatch, view_size: int, precision: str
) -> None:
    measured: list[str] = []
    monkeypatch.setattr("manyview.runtime._cpu_multiplies_bf16", lambda: True)
    monkeypatch.setattr("manyview.recipes.check.forecast.measure_step", lambda *_: 0.5)
    monkeypatch.setattr("manyview.recipes.check.forecast.measure_needs", lambda *given: measured.append(given[3]))
    options: dict[str, Any] = {"recipe": "simsiam", "batch_size": 4, "set": ["training.device=cpu"]}
    results = check_images(folder, backbone="timm/test_resnet", view_size=view_size, **options)["results"]
    assert measured == [precision]
    assert results["expected"]["memory"] is None


def test_a_run_that_would_be_refused_is_told(folder: Path) -> None:
    for file in sorted(folder.iterdir())[1:]:
        file.unlink()
    results = check_images(folder, backbone="timm/test_resnet", view_size=32)["results"]
    assert results["verdict"] == "stops"
    assert "the run would be refused: " in said(results, "stops")
    assert results["expected"] is None


def test_a_folder_of_which_nothing_can_be_read(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").write_text("text")
    results = check_images(tmp_path / "photos")["results"]
    assert results["verdict"] == "stops"
    assert results["expected"] is None
    assert results["sizes"] == {}


def test_images_in_a_shard(folder: Path, tmp_path: Path) -> None:
    (folder / "same.jpg").write_bytes((folder / "a.jpg").read_bytes())
    (folder / "bad.jpg").write_text("text")
    shard = tmp_path / "shard.tar"
    with tarfile.open(shard, "w") as archive:
        for file in sorted(folder.iterdir()):
            archive.add(file, file.name)
    labels = written(tmp_path / "train.csv", [("a.jpg", "cat"), ("b.jpg", "cat")])
    results = look(shard, labels, set=["data.max_bad_fraction=0.5"])
    assert results["images"] == COUNT + 2
    assert results["duplicates"]["identical"] == [{"images": ["a.jpg", "same.jpg"]}]
    assert [each["image"] for each in results["unreadable"]] == ["bad.jpg"]
    assert results["labels"][0]["classes"] == {"cat": 2}
    assert "14 images in 1 shard" in said(results, "note")
