"""Labels from Pascal VOC's annotations."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from manyview.errors import UserError
from manyview.labels import read_labels

Write = Callable[[str, str], Path]


def annotation(*objects: tuple[str, str | None]) -> str:
    """An annotation with objects, each with its class and what ``difficult`` says, if it is there."""
    parts = [
        f"<object><name>{name}</name><part><name>head</name></part>"
        + ("" if flag is None else f"<difficult>{flag}</difficult>")
        + "<bndbox><xmin>1</xmin><ymin>1</ymin><xmax>9</xmax><ymax>9</ymax></bndbox></object>"
        for name, flag in objects
    ]
    return f"<annotation><folder>x</folder><filename>other.jpg</filename>{''.join(parts)}</annotation>\n"


def test_an_image_shows_the_classes_of_its_objects(write: Write, images: Path) -> None:
    write("Annotations/b.xml", annotation())
    write("Annotations/a.XML", '<?xml version="1.0"?>' + annotation(("dog", "0"), ("dog", None), (" cow ", "0")))
    write("Annotations/._a.xml", "a hidden file")
    write("Annotations/.old/a.xml", "a file in a hidden folder")
    folder = write("Annotations/c/d.xml", annotation(("cat", "0"))).parents[1]
    labels = read_labels(folder, images)
    assert labels.names == ("a.jpg", "b.jpg", "c/d.png")
    assert labels.classes == ("cat", "cow", "dog")
    assert labels.targets.tolist() == [[0, 1, 1], [0, 0, 0], [1, 0, 0]]
    assert (labels.ignored, labels.skipped) == (None, ())


def test_a_class_is_difficult_where_all_its_objects_are(write: Write, images: Path) -> None:
    write("Annotations/a.xml", annotation(("dog", "1"), ("cat", "1"), ("dog", "0")))
    folder = write("Annotations/b.xml", annotation(("dog", "1"), ("dog", "True"))).parent
    labels = read_labels(folder, images)
    assert labels.classes == ("cat", "dog")
    assert labels.targets.tolist() == [[0, 1], [0, 0]]
    assert labels.ignored is not None
    assert labels.ignored.tolist() == [[1, 0], [0, 1]]
    labels = read_labels(folder, images, difficult="positive")
    assert labels.targets.tolist() == [[1, 1], [0, 1]]
    assert labels.ignored is None


@pytest.mark.parametrize("place", ["ImageSets/Main/some.txt", "some.txt"])
def test_a_list_chooses_and_orders_the_annotations(write: Write, images: Path, place: str) -> None:
    for name, label in (("a", "dog"), ("b", "cat"), ("c/d", "cow")):
        write(f"Annotations/{name}.xml", annotation((label, "0")))
    labels = read_labels(write(place, "c/d\n\n  a.jpg  \n"), images)
    assert labels.names == ("c/d.png", "a.jpg")
    assert labels.classes == ("cow", "dog")
    assert labels.targets.tolist() == [[1, 0], [0, 1]]


@pytest.mark.parametrize("name", ["a.jpg", "A.JPE", "scan.npy", "a.avif", "a.heic"])
def test_lists_may_name_images_with_any_extension(write: Write, images: Path, name: str) -> None:
    (images / name).touch()
    write(f"Annotations/{Path(name).stem}.xml", "<annotation><object><name>cow</name></object></annotation>")
    labels = read_labels(write("l.txt", f"{name}\n"), images)
    assert (labels.names, labels.classes) == ((name,), ("cow",))


LAUGHS = '<!DOCTYPE lolz [<!ENTITY a "lol">' + "".join(
    f'<!ENTITY {name} "{f"&{inner};" * 10}">' for inner, name in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        ("", "is not XML (no element found"),
        ("<annotation>", "is not XML (no element found"),
        ('<?xml version="1.0" encoding="none"?><annotation/>', "is not XML (unknown encoding"),
        ("<html></html>", "holds <html> instead of <annotation>"),
        ("<annotation><object></object></annotation>", "has an object that has no name"),
        (annotation(("dog", "maybe")), "has an object that is difficult 'maybe'"),
        ("<!DOCTYPE annotation>" + annotation(("dog", "0")), "has a DOCTYPE, which is refused for safety"),
        (
            '<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/hostname">]><annotation>&x;</annotation>',
            "has a DOCTYPE, which is refused for safety",
        ),
        (LAUGHS + "]><annotation>&i;</annotation>", "has a DOCTYPE, which is refused for safety"),
    ],
)
def test_malformed_annotations(write: Write, images: Path, content: str, fault: str) -> None:
    write("Annotations/a.xml", annotation(("dog", "0")))
    folder = write("Annotations/b.xml", content).parent
    start = time.perf_counter()
    with pytest.raises(UserError) as refused:
        read_labels(folder, images)
    assert time.perf_counter() - start < 5
    assert f"Annotations has a problem (b.xml {fault}" in str(refused.value)
    assert "<annotation> with <object>" in str(refused.value)
    labels = read_labels(folder, images, problems="skip")
    assert labels.names == ("a.jpg",)
    (sentence,) = labels.skipped
    assert sentence.startswith(f"b.xml {fault}")


def test_faults_behind_a_list(write: Write, images: Path, tmp_path: Path) -> None:
    write("Annotations/a.xml", annotation(("dog", "0")))
    write("Annotations/b.xml", "<annotation>")
    write("secret.xml", "<secret/>")  # outside, so not even opened
    labels = read_labels(write("some.txt", "a\nb\nnone\n../secret\na\n"), images, problems="skip")
    assert (labels.names, labels.classes) == (("a.jpg",), ("dog",))
    assert labels.skipped == (
        "line 2 names b, whose b.xml is not XML (no element found: line 1, column 12)",
        f"line 3 names none, whose none.xml is not in {tmp_path / 'Annotations'}",
        "line 4 names ../secret, which is outside of the folder of images",
        "line 5 names a.jpg again, as line 1 does",
    )
