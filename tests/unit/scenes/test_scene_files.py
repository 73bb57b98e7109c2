from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from manyview.errors import UserError
from manyview.images import find_images
from manyview.labels import DetectionLabels, decode_masks, read_annotations, read_labels
from manyview.scenes import CATEGORIES, render_scene, write_scenes
from manyview.scenes.write import _scene_seed

SIZE = (48, 40)
PARTS = {"train": range(15), "val": range(15, 20)}


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scenes")
    write_scenes(folder, 20, seed=4, val_share=0.25, size=SIZE)
    return folder


def objects(scenes: Path, part: str) -> DetectionLabels:
    return read_annotations(scenes / f"instances_{part}.json", scenes / "images", masks=True)


def test_written_scenes_can_be_read_back(scenes: Path) -> None:
    train = read_labels(scenes / "train.csv", scenes / "images", CATEGORIES)
    val = read_labels(scenes / "val.csv", scenes / "images", CATEGORIES)
    assert (len(train.names), len(val.names)) == (15, 5)
    assert [*train.names, *val.names] == list(find_images(scenes / "images"))
    assert all(name.startswith("synthetic-") for name in train.names)
    with Image.open(scenes / "images" / val.names[0]) as image:
        assert image.size == SIZE
    assert 1 < train.targets.sum(1).mean() < 5


@pytest.mark.parametrize("part", PARTS)
def test_masks_and_boxes_are_those_that_were_rendered(scenes: Path, part: str) -> None:
    labels = objects(scenes, part)
    assert labels.classes == CATEGORIES
    assert labels.category_ids == tuple(range(1, 11))
    assert labels.notes == labels.skipped == ()
    assert sum(map(len, labels.objects)) > 4 * len(labels)
    for index, found in zip(PARTS[part], labels.objects, strict=True):
        categories, masks = zip(*render_scene(_scene_seed(4, index), SIZE).objects, strict=True)
        assert [CATEGORIES[label - 1] for label in found.labels] == list(categories)
        np.testing.assert_array_equal(decode_masks(found.segmentations, *SIZE), np.stack(masks))
        assert found.trained.all()
        for mask, box, area in zip(masks, found.boxes, found.area, strict=True):
            across, down = np.nonzero(mask.any(axis=0))[0], np.nonzero(mask.any(axis=1))[0]
            assert box.tolist() == [across.min(), down.min(), across.max() + 1, down.max() + 1]
            assert area == mask.sum()


@pytest.mark.parametrize("part", PARTS)
def test_pycocotools_sees_the_same(scenes: Path, part: str) -> None:
    from pycocotools import mask as tools
    from pycocotools.coco import COCO

    coco = COCO(scenes / f"instances_{part}.json")
    names = [f"synthetic-{index:06d}.jpg" for index in PARTS[part]]
    assert [image["file_name"] for image in coco.loadImgs(coco.getImgIds())] == names
    annotations = coco.loadAnns(coco.getAnnIds())
    assert [annotation["id"] for annotation in annotations] == list(range(1, len(annotations) + 1))
    for annotation in annotations:
        rle = coco.annToRLE(annotation)
        assert annotation["bbox"] == tools.toBbox(rle).tolist()
        assert annotation["area"] == tools.area(rle)


@pytest.mark.parametrize("part", PARTS)
def test_labels_and_objects_agree(scenes: Path, part: str) -> None:
    image_labels = read_labels(scenes / f"{part}.csv", scenes / "images", CATEGORIES)
    found = objects(scenes, part)
    assert image_labels.names == found.names
    assert [
        [CATEGORIES.index(category) + 1 for category in CATEGORIES if row[CATEGORIES.index(category)]]
        for row in image_labels.targets
    ] == [sorted(set(each.labels.tolist())) for each in found.objects]
    # Read as labels of the whole image, the objects' file says the same.
    of_objects = read_labels(scenes / f"instances_{part}.json", scenes / "images", CATEGORIES)
    np.testing.assert_array_equal(of_objects.targets, image_labels.targets)


def test_the_same_call_writes_the_same_and_another_seed_another_set(tmp_path: Path) -> None:
    def contents(folder: Path) -> dict[str, bytes]:
        return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}

    for name, count, seed in (("a", 6, 0), ("more", 8, 0), ("other", 6, 1)):
        write_scenes(tmp_path / name, count, seed, size=(32, 32))
    first = contents(tmp_path / "a")
    write_scenes(tmp_path / "a", 6, 0, size=(32, 32))
    assert contents(tmp_path / "a") == first
    more, other = contents(tmp_path / "more"), contents(tmp_path / "other")
    images = [name for name in first if name.endswith(".jpg")]
    assert len(images) == 6
    assert all(more[name] == first[name] != other[name] for name in images)


def test_scenes_are_not_mixed_with_other_files(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "mine.jpg").touch()
    with pytest.raises(UserError, match=r"holds other files, such as mine\.jpg"):
        write_scenes(tmp_path, 2)
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"cannot write synthetic scenes to .*file: "):
        write_scenes(tmp_path / "file", 2)
