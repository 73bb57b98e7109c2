"""``manyview views``: that it shows a run's very views, counts, and reports mistakes in one line."""

from __future__ import annotations

import base64
import io
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image

from manyview.cli.parts import viewing
from manyview.config import PretrainConfig
from manyview.images import find_images
from manyview.training.data import ViewDataset, ViewSample
from tests.helpers.commands import Command, complaint
from tests.helpers.tiny import train_tiny, write_images

VERB = "views"


def mistake(command: Command, *words: object) -> str:
    """The one line that a mistake leads to."""
    return complaint(command(*words))


def views_in(page: Path) -> list[np.ndarray]:
    """The views on a page, in its order; of blocks, eight and then the usual two."""
    sources = re.findall(r'<img src="data:image/jpeg;base64,([^"]+)"', page.read_text())
    return [np.asarray(Image.open(io.BytesIO(base64.b64decode(source)))).astype(int) for source in sources]


def assert_alike(shown: list[np.ndarray], expected: list[np.ndarray]) -> None:
    """But for the loss of JPEG, which is small beside the difference of other views."""
    for view, pixels in zip(shown, expected, strict=True):
        assert view.shape == pixels.shape
        assert np.abs(view - pixels).mean() < 10


def views_of(sample: ViewSample) -> list[np.ndarray]:
    """A run's views of an image, group by group."""
    assert isinstance(sample.groups, tuple)
    return [view.transpose(1, 2, 0) for group in sample.groups for view in group]


def test_a_run_with_labels_has_the_images_that_they_name(command: Command, photos: Path, tmp_path: Path) -> None:
    """Whose indices decide on the views."""
    (tmp_path / "labels.csv").write_text("image,labels\n03.jpg,cat\n05.jpg,\n07.jpg,cat|dog\n")
    settings = ("--recipe", "supervised", "--set", f"data.labels={tmp_path / 'labels.csv'}", "--set", "views.size=32")
    status, _, _ = command(photos, "--out", tmp_path / "a.html", *settings)
    page = (tmp_path / "a.html").read_text()
    assert status == 0
    assert re.findall(r"<h2>(.*?)</h2>", page) == ["03.jpg", "05.jpg", "07.jpg"]
    assert "One color, one view" in page
    listed = tmp_path / "list.txt"
    listed.write_text("03.jpg\n05.jpg\n07.jpg\n")
    assert command(photos, "--out", tmp_path / "b.html", *settings, "--list", listed)[0] == 0
    assert_alike(views_in(tmp_path / "a.html"), views_in(tmp_path / "b.html"))


def labels(folder: Path, photos: Path, **extra: Any) -> Path:
    """A COCO file of all images but the last, each with two objects, the first with a crowd."""
    names = sorted(file.name for file in photos.iterdir())[:-1]
    content = {
        "images": [{"id": n, "file_name": name, "width": 64, "height": 48} for n, name in enumerate(names)],
        "annotations": [
            *({"image_id": n, "bbox": [4, 4, 20, 20]} for n in range(len(names))),
            *({"image_id": n, "bbox": [30, 20, 30, 25]} for n in range(len(names))),
            {"image_id": 0, "bbox": [0, 0, 64, 48], "iscrowd": 1},
        ],
        **extra,
    }
    (folder / "boxes.json").write_text(json.dumps(content))
    return folder / "boxes.json"


CHOSEN: list[tuple[str, dict[str, Any], bool]] = [
    ("released", {}, True),
    ("paper", {"views.grid": [1, 3]}, True),
    ("simsiam", {}, False),
    ("paper", {"views.kind": "both", "views.pairs": 2}, True),
    ("simsiam", {"views.kind": "groups", "views.groups": [{"count": 2}, {"size": 64, "count": 6}]}, False),
]


@pytest.mark.parametrize(("recipe", "settings", "beside"), CHOSEN)
def test_shows_the_views_of_the_run(
    command: Command, photos: Path, tmp_path: Path, recipe: str, settings: dict[str, Any], beside: bool
) -> None:
    """With a list of names, a seed and an epoch; against what a run's loader gives for the same."""
    (tmp_path / "some.txt").write_text("11.jpg\n03.jpg\n07.jpg\n")
    settings = {"views.blur": [0, 0], **settings}
    (tmp_path / "settings.json").write_text(json.dumps(nested(settings)))
    words = ["--recipe", recipe, "--list", tmp_path / "some.txt", "--seed", 5, "--view-size", 48]
    words += ["--config", tmp_path / "settings.json"]
    status, _, err = command(photos, "--out", tmp_path / "a.html", "--only", "07.jpg", "--epoch", 3, *words)
    assert (status, err.strip()) == (0, "")

    run = train_tiny(
        photos,
        tmp_path / "run",
        recipe=recipe,
        list=tmp_path / "some.txt",
        seed=5,
        view_size=48,
        batch_size=2,
        epochs=1,
        settings=settings,
    )
    config = PretrainConfig.model_validate(run.read_json("config.json"))
    dataset = ViewDataset(find_images(photos, tmp_path / "some.txt"), config, renderer="cpu")
    expected, shown = views_of(dataset[3, 1]), views_in(tmp_path / "a.html")
    assert len(shown) == len(expected) + (2 if beside else 0)
    assert_alike(shown[: len(expected)], expected)
    with pytest.raises(AssertionError):
        assert_alike(shown[: len(expected)], expected[::-1])

    # The run's own configuration says all of it.
    status, _, _ = command(
        "--config", run.path / "config.json", "--out", tmp_path / "b.html", "--only", "07.jpg", "--epoch", 0
    )
    assert status == 0
    assert_alike(views_in(tmp_path / "b.html")[: len(expected)], views_of(dataset[0, 1]))


def nested(settings: dict[str, Any]) -> dict[str, Any]:
    """Settings of the views as a file holds them."""
    return {"views": {key.removeprefix("views."): value for key, value in settings.items()}}


def test_picture_and_page_by_the_ending(command: Command, photos: Path, tmp_path: Path) -> None:
    for name, start in (("new/a.PNG", b"\x89PNG"), ("new/a.Html", b"<!DOCTYPE html>")):
        status, out, err = command(photos, "--out", tmp_path / name, "--view-size", 16, "--photos", 1)
        assert (status, err.strip()) == (0, "")
        said, written = out.splitlines()
        assert said == "1 of 16 images, drawn at random by the seed 0. --only NAME shows another."
        assert written.split() == ["Written:", str(tmp_path / name)]
        assert (tmp_path / name).read_bytes().startswith(start)
    assert sorted(file.name for file in (tmp_path / "new").iterdir()) == ["a.Html", "a.PNG"]


def test_how_many_and_which_images(command: Command, photos: Path, tmp_path: Path) -> None:
    def names(*words: object) -> list[str]:
        status, _, _ = command(photos, "--out", tmp_path / "a.html", "--view-size", 16, *words)
        assert status == 0
        return re.findall(r"<h2>(.*?)</h2>", (tmp_path / "a.html").read_text())

    every = [f"{number:02d}.jpg" for number in range(16)]
    six = names()
    assert len(set(six)) == 6
    assert six != every[:6]
    assert names() == six
    assert names("--photos", 2) == six[:2]
    assert names("--seed", 1) != six
    assert names("--photos", 99) == every
    assert names("--only", "./09.jpg", "--only", "03.jpg") == ["09.jpg", "03.jpg"]


def test_unreadable_images_are_skipped_with_a_word(command: Command, tmp_path: Path) -> None:
    folder = write_images(tmp_path / "photos", 3)
    (folder / "00.jpg").write_bytes(b"nothing of that kind")
    status, out, _ = command(folder, "--out", tmp_path / "a.html", "--view-size", 16, "--photos", 2)
    assert status == 0
    drawn = re.findall(r"<h2>(.*?)</h2>", (tmp_path / "a.html").read_text())
    assert sorted(drawn) == ["01.jpg", "02.jpg"]
    status, out, _ = command(folder, "--out", tmp_path / "a.html", "--view-size", 16)
    assert out.splitlines()[0] == "Skipped 00.jpg: not an image of a known format"
    assert "drawn at random" not in out  # all were wanted
    assert re.findall(r"<h2>(.*?)</h2>", (tmp_path / "a.html").read_text()) == ["01.jpg", "02.jpg"]

    status, _, err = command(folder, "--out", tmp_path / "b.html", "--only", "00.jpg")
    assert status == 2
    assert err.strip() == f"Error: none of the images to be drawn from {folder} can be read"
    assert not (tmp_path / "b.html").exists()


def test_bands(command: Command, tmp_path: Path) -> None:
    (tmp_path / "tiles").mkdir()
    np.save(tmp_path / "tiles" / "a.npy", np.arange(40 * 30 * 4, dtype=np.uint16).reshape(30, 40, 4))
    status, _, _ = command(tmp_path / "tiles", "--out", tmp_path / "a.html", "--view-size", 16, "--set", "data.bands=4")
    assert status == 0
    assert "band 0 of 4 is shown, in gray, with stretched contrast" in (tmp_path / "a.html").read_text()
    assert len(views_in(tmp_path / "a.html")) == 10


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Empty pictures, for tests of figures."""
    out = io.BytesIO()
    Image.new("RGB", (1, 1)).save(out, format="png")
    monkeypatch.setattr(viewing, "draw_curve", lambda count: out.getvalue())
    monkeypatch.setattr(viewing, "views_picture", lambda *images, **options: out.getvalue())


def test_counting(command: Command, photos: Path, tmp_path: Path) -> None:
    words = [photos, "--out", tmp_path / "a.html", "--view-size", 16, "--photos", 1, "--seed", 2, "--epoch", 1]
    status, out, err = command(*words, "--labels", labels(tmp_path, photos), "--share", ".4", "--count-epochs", 3)
    assert (status, err.strip()) == (0, "")
    assert "at least 40 % of an object's box inside both crops" in " ".join(out.split())
    count = json.loads((tmp_path / "metrics.json").read_text())
    protocol = count["protocol"]
    assert (protocol["photographs"], protocol["with_objects"], protocol["photographs_of_the_run"]) == (15, 15, 15)
    assert (protocol["objects"], protocol["crowds_left_out"]) == (30, 1)
    assert (protocol["seed"], protocol["epochs"], protocol["share"]) == (2, [1, 2, 3], 0.4)
    assert protocol["shares"] == [0.25, 0.4, 0.5, 0.75]
    assert protocol["labels"] == [str(tmp_path / "boxes.json")]
    assert [(row["cropping"], row["overlap"]) for row in count["results"]] == [
        ("usual", None),
        *[(kind, overlap) for overlap in (0, 0.1, 0.2, 0.3, 0.4, 0.5) for kind in ("blocks", "control", "moved")],
    ]
    assert count["provenance"]["versions"]["manyview"]
    page = (tmp_path / "a.html").read_text()
    usual = count["results"][0]["with_objects"]["shares"][1]
    assert usual["share"] == 0.4
    assert f"<td>{100 * usual['common']:.1f}</td>" in page
    assert f"{100 * usual['common']:.1f}" in out
    assert (tmp_path / "a-common-objects.png").read_bytes().startswith(b"\x89PNG")
    assert out.split()[-3:] == [
        f"{tmp_path / 'a.html'},",
        f"{tmp_path / 'metrics.json'},",
        str(tmp_path / "a-common-objects.png"),
    ]

    # The very same again replaces its own result by the same figures.
    status, _, _ = command(*words, "--labels", tmp_path / "boxes.json", "--share", ".4", "--count-epochs", 3)
    assert status == 0
    assert json.loads((tmp_path / "metrics.json").read_text())["results"] == count["results"]


def test_counting_follows_the_settings_of_the_blocks(
    command: Command, photos: Path, tmp_path: Path, undrawn: None
) -> None:
    file = labels(tmp_path, photos)
    words = [photos, "--out", tmp_path / "a.png", "--view-size", 16, "--photos", 1, "--labels", file]
    settings = ["--set", "views.overlap=.25", "--set", "views.scale=[.5,.8]", "--set", "views.grid=[1,2]"]
    assert command(*words, "--count-epochs", 1, *settings)[0] == 0
    rows = json.loads((tmp_path / "metrics.json").read_text())["results"]
    assert 0.25 in {row["overlap"] for row in rows}
    blocks, control = (
        next(row for row in rows if (row["cropping"], row["overlap"]) == (kind, 0.25)) for kind in ("blocks", "control")
    )
    assert (blocks["scale"], blocks["pairs"], control["pairs"]) == ([0.5, 0.8], 2, 2)
    assert control["scale"] == pytest.approx([0.5 * 0.75, 0.8 * 0.75], rel=1e-5)

    assert command(*words, "--count-epochs", 1, "--set", "views.kind=both", "--set", "views.overlap=.4")[0] == 0
    result = json.loads((tmp_path / "metrics.json").read_text())["results"]
    assert [row["pairs"] for row in result if row["overlap"] == 0.4] == [4, 4, 4]

    assert command(*words, "--count-epochs", 1, "--recipe", "simsiam")[0] == 0
    blocks = json.loads((tmp_path / "metrics.json").read_text())["results"][1]
    assert (blocks["cropping"], blocks["scale"], blocks["pairs"]) == ("blocks", [0.2, 1.0], 4)


def test_yolo_files_are_counted_as_coco_is(command: Command, photos: Path, tmp_path: Path, undrawn: None) -> None:
    coco = json.loads(labels(tmp_path, photos).read_text())
    (tmp_path / "yolo").mkdir()
    for image in coco["images"]:
        boxes = [
            each["bbox"] for each in coco["annotations"] if each["image_id"] == image["id"] and "iscrowd" not in each
        ]
        lines = (f"0 {(x + w / 2) / 64} {(y + h / 2) / 48} {w / 64} {h / 48}" for x, y, w, h in boxes)
        (tmp_path / "yolo" / image["file_name"]).with_suffix(".txt").write_text("\n".join(lines) + "\n")
    found = []
    for file in ("boxes.json", "yolo"):
        words = [photos, "--out", tmp_path / "a.png", "--view-size", 16, "--photos", 1, "--count-epochs", 1]
        status, _, err = command(*words, "--labels", tmp_path / file)
        assert status == 0, err
        found.append(json.loads((tmp_path / "metrics.json").read_text())["results"])
    assert found[0] == found[1]


def test_labels_of_other_images_are_counted_too(command: Command, photos: Path, tmp_path: Path, undrawn: None) -> None:
    other = {"images": [{"id": 1, "file_name": "elsewhere.jpg", "width": 9, "height": 9}], "annotations": []}
    (tmp_path / "other.json").write_text(json.dumps(other))
    words = [photos, "--out", tmp_path / "a.png", "--view-size", 16, "--photos", 1, "--count-epochs", 1]
    both = ["--labels", labels(tmp_path, photos), "--labels", tmp_path / "other.json"]
    status, out, _ = command(*words, *both)
    assert status == 0
    protocol = json.loads((tmp_path / "metrics.json").read_text())["protocol"]
    assert (protocol["photographs"], protocol["with_objects"], protocol["photographs_of_the_run"]) == (16, 15, 15)
    assert "of all: common, over all 16 images" in " ".join(out.split())


def test_results_of_other_commands_are_not_overwritten(command: Command, photos: Path, tmp_path: Path) -> None:
    (tmp_path / "metrics.json").write_text('{"protocol": {"pool": "gamp"}}')
    words = [photos, "--out", tmp_path / "a.png", "--view-size", 16, "--photos", 1]
    line = mistake(command, *words, "--labels", labels(tmp_path, photos))
    assert line == f"{tmp_path / 'metrics.json'} holds another command's result: choose another folder for --out"
    assert json.loads((tmp_path / "metrics.json").read_text()) == {"protocol": {"pool": "gamp"}}
    assert command(*words)[0] == 0


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["--out", "views.jpg"], "--out views.jpg must end in .png for a picture or in .html for a page"),
        (["--out", "views"], "--out views must end in .png"),
        (["--epoch", "200"], "--epoch 200 is not among the run's 200: the first is 0, the last 199"),
        (["--epoch", "-1"], "'--epoch'"),
        (["--photos", "0"], "'--photos'"),
        (["--only", "00.jpeg"], "there is no image 00.jpeg in"),
        (["--only", "nothing/alike"], "names are relative to that folder"),
        (["--recipe", "papre"], "unknown recipe 'papre'; did you mean paper?"),
        (["--set", "views.overlap=.7"], "views.overlap (--set) must be less than or equal to 0.5"),
        (["--set", "views.overlp=.1"], "unknown key views.overlp (--set); did you mean views.overlap?"),
        (["--view-size", "2"], "views.size (--view-size) must be greater than or equal to 8"),
        (["--list", "nix.txt"], "nix.txt does not exist"),
        (["--labels", "nix.json"], "nix.json does not exist"),
        (["--labels", "x.json", "--share", "0"], "--share is 0: give a number above 0, at most 1"),
        (["--labels", "x.json", "--share", "1.5"], "--share is 1.5"),
        (["--labels", "x.json", "--count-epochs", "0"], "'--count-epochs'"),
    ],
)
def test_mistake_in_one_option(command: Command, photos: Path, tmp_path: Path, words: list[str], part: str) -> None:
    line = mistake(command, photos, *([] if "--out" in words else ["--out", tmp_path / "new" / "a.png"]), *words)
    assert part in line
    assert not (tmp_path / "new").exists()


def test_labels_without_any_object(command: Command, photos: Path, tmp_path: Path) -> None:
    file = labels(tmp_path, photos, annotations=[{"image_id": 0, "bbox": [0, 0, 9, 9], "iscrowd": 1}])
    line = mistake(command, photos, "--out", tmp_path / "a.png", "--view-size", 16, "--labels", file)
    assert line == f"there is no object in {file}: nothing can be counted"


def test_missing_arguments(command: Command, photos: Path, tmp_path: Path) -> None:
    assert "PHOTOS is missing: name the folder of images" in mistake(command, "--out", tmp_path / "a.png")
    assert "--out is missing: name the picture to write" in mistake(command, photos)
    assert "is a folder: name the file to write in it" in mistake(command, photos, "--out", folder(tmp_path / "a.png"))
    (tmp_path / "file").write_text("")
    assert "file is a file: choose a folder" in mistake(command, photos, "--out", tmp_path / "file" / "a.png")
    assert "does not exist" in mistake(command, tmp_path / "nix", "--out", tmp_path / "b.png")


def folder(path: Path) -> Path:
    path.mkdir()
    return path


def test_files_of_12_bits_are_named_and_shown_as_the_run_will_see_them(
    command: Command, photos: Path, tmp_path: Path
) -> None:
    deep, usual = tmp_path / "deep", tmp_path / "usual"
    deep.mkdir()
    usual.mkdir()
    for file in sorted(photos.iterdir())[:2]:
        (usual / file.name).write_bytes(file.read_bytes())
        values = np.round(np.asarray(Image.open(file), dtype=np.float64) / 255 * 4095).astype(np.uint16)
        tifffile.imwrite(deep / f"{file.stem}.tif", values, photometric="rgb")
    size = ("--photos", 2, "--view-size", 32)

    status, out, _ = command(deep, "--out", tmp_path / "dark.html", *size)
    assert status == 0
    sentence = "as of 12 bits: they are nearly black, with some 16 of 256 levels of gray; data.bit_depth=12 makes 4,095"
    assert sentence in " ".join(out.split())
    assert max(view.max() for view in views_in(tmp_path / "dark.html")[:8]) < 64

    status, out, _ = command(deep, "--out", tmp_path / "mended.html", *size, "--bit-depth", 12)
    assert (status, "16-bit" in out) == (0, False)
    assert command(deep, "--out", tmp_path / "set.html", *size, "--set", "data.bit_depth=12")[0] == 0
    assert command(usual, "--out", tmp_path / "usual.html", *size)[0] == 0
    assert_alike(views_in(tmp_path / "mended.html"), views_in(tmp_path / "set.html"))
    assert_alike(views_in(tmp_path / "mended.html"), views_in(tmp_path / "usual.html"))


def test_files_that_the_run_will_leave_out_as_too_large_do_not_count(
    command: Command, photos: Path, tmp_path: Path
) -> None:
    mixed = tmp_path / "mixed"
    mixed.mkdir()
    (mixed / "a.jpg").write_bytes(min(photos.iterdir()).read_bytes())
    tifffile.imwrite(mixed / "b.tif", np.full((100, 100, 3), 4095, dtype=np.uint16), photometric="rgb")
    words = (mixed, "--photos", 1, "--view-size", 32)

    assert "16-bit images use values up to 4,095" in command(*words, "--out", tmp_path / "a.png")[1]
    status, out, _ = command(*words, "--out", tmp_path / "b.png", "--set", "data.max_pixels=9000")
    assert (status, "16-bit" in out) == (0, False)


@pytest.mark.parametrize("bits", ["8", "16", "12.5"])
def test_other_depths_are_mistakes(bits: str, command: Command, photos: Path, tmp_path: Path) -> None:
    assert "bit" in mistake(command, photos, "--out", tmp_path / "a.png", "--bit-depth", bits)
