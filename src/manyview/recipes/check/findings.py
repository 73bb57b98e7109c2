"""What is in the way of a run, in sentences: what would stop it, what would spoil its results, what is worth a look."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, Literal, NamedTuple

from manyview.errors import first_few
from manyview.recipes.check.labels import Labeled, alike

Weight = Literal["stops", "spoils", "note"]
STOPS: Final = "stops"
SPOILS: Final = "spoils"
NOTE: Final = "note"

_MANY = 0.05  # share of images that are copies of others, above which they count as a fault
_FEW = 0.005  # share of a label file's images that may look like some of another's


class Finding(NamedTuple):
    """A sentence, and how much it matters."""

    weight: Weight
    sentence: str


def of_images(results: Mapping[str, Any], max_bad_fraction: float) -> Iterator[Finding]:
    """Findings about the images alone."""
    images, looked = results["images"], results["looked_at"]
    unread, blank = results["unreadable"], results["blank"]
    if unread:
        named = first_few([f"{each['image']} ({each['reason']})" for each in unread])
        share = len(unread) / looked
        stops = share > max_bad_fraction
        limit = f", above the {max_bad_fraction:.3g} that a run accepts (data.max_bad_fraction)" if stops else ""
        yield Finding(STOPS if stops else NOTE, f"{_images(len(unread))} cannot be read{limit}: {named}.")
    if blank:
        yield Finding(NOTE, f"{_images(len(blank))} of a single color: {first_few(blank)}.")
    for key, what in (("identical", "with the same bytes as another"), ("same_picture", "almost the same as another")):
        copies = sum(len(group["images"]) - 1 for group in results["duplicates"][key])
        if copies:
            many = copies > _MANY * (images if key == "identical" else looked)
            examples = first_few([" = ".join(group["images"][:2]) for group in results["duplicates"][key]])
            yield Finding(SPOILS if many else NOTE, f"{_images(copies)} {what}: {examples}.")
    yield from _of_sizes(results)
    if results["depth"]:
        yield Finding(SPOILS, results["depth"])
    for sentence in (results["left_out"], results["source"]):
        if sentence:
            yield Finding(NOTE, sentence)


def _of_sizes(results: Mapping[str, Any]) -> Iterator[Finding]:
    """Views that are larger than the parts of the images that they show."""
    side = results["sizes"].get("shorter side", {}).get("median")
    if side is not None and side < results["view_size"]:
        yield Finding(
            NOTE,
            f"the shorter side of half of the images has at most {side:,.0f} pixels, so that views of "
            f"{results['view_size']} pixels are enlarged: a smaller --view-size takes less time.",
        )


def of_labels(labels: Sequence[Labeled], results: Mapping[str, Any]) -> Iterator[Finding]:
    """Findings about label files, each for itself and together."""
    unreadable = {each["image"] for each in results["unreadable"]}
    for each in labels:
        if each.problems:
            yield Finding(STOPS, f"{each.file}: {_problems(each.problems)}.")
        if each.notes:
            yield Finding(NOTE, f"{each.file}: {'; '.join(each.notes)}.")
        if each.unlabeled:
            yield Finding(NOTE, f"{each.file}: {_images(each.unlabeled)} without any label.")
        if bad := [name for name in each.names if name in unreadable]:
            yield Finding(STOPS, f"{each.file}: {_images(len(bad))} with labels cannot be read: {first_few(bad)}.")
        yield from _of_classes(each)
    for names in alike([name for each in labels for name in each.counts]):
        yield Finding(SPOILS, f"classes that are probably one: {' = '.join(names)}.")
    yield from _of_other_classes(labels)
    yield from _of_leaks(results)
    if labels and results["not_named"]:
        yield Finding(NOTE, f"{_images(results['not_named'])} in no label file, which serve pre-training alone.")


def _of_classes(labels: Labeled) -> Iterator[Finding]:
    for wanted, words in ((0, "without an image"), (1, "with a single image")):
        rare = [name for name, count in labels.counts.items() if count == wanted]
        if rare:
            counted = "1 class" if len(rare) == 1 else f"{len(rare)} classes"
            yield Finding(NOTE, f"{labels.file}: {counted} {words} ({first_few(rare)}).")


def _of_other_classes(labels: Sequence[Labeled]) -> Iterator[Finding]:
    """Classes of later files that the first one, which a classifier is trained on, does not have."""
    for each in labels[1:]:
        new = [name for name in each.counts if name not in labels[0].counts]
        if new:
            yield Finding(STOPS, f"{each.file} has classes that {labels[0].file} lacks: {first_few(new)}.")


def _of_leaks(results: Mapping[str, Any]) -> Iterator[Finding]:
    sizes = {each["file"]: each["images"] for each in results["labels"]}
    for leak in results["leaks"]:
        between = " and ".join(leak["files"])
        for key, words in (
            ("named_in_both", "name the same images"),
            ("identical", "name images with the same bytes"),
            ("same_picture", "name images that show the same"),
        ):
            found = leak[key]
            few = key == "same_picture" and len(found) <= _FEW * min(sizes[file] for file in leak["files"])
            if found:
                example = found[0] if key == "named_in_both" else " = ".join(found[0])
                sentence = f"{between} {words}, {len(found):,} in all, such as {example}."
                yield Finding(NOTE if few else SPOILS, sentence)


def of_machine(results: Mapping[str, Any]) -> Iterator[Finding]:
    """Findings about memory and disk, and a run that would be refused."""
    here, expected = results["machine"], results["expected"]
    if results["refused"]:
        yield Finding(STOPS, f"the run would be refused: {results['refused']}.")
    if expected is None:
        return
    for need, free, what, way in (
        ("memory", "memory", "memory", "lower --batch-size, --view-size or the backbone"),
        ("disk", "disk_free", "space on this disk", "write the run to another one"),
        (
            *("shared_memory", "shared_memory_free", "shared memory (/dev/shm)"),
            "give it more (docker run --shm-size), or set data.workers",
        ),
    ):
        if expected[need] is not None and here[free] is not None and expected[need] > here[free]:
            sizes = f"{in_words(expected[need])} of {what}, of which there are {in_words(here[free])}"
            yield Finding(STOPS, f"the run needs about {sizes}: {way}.")


def in_words(count: int) -> str:
    """A number of bytes, such as "1.5 GB"."""
    for size, unit in ((10**12, "TB"), (10**9, "GB"), (10**6, "MB")):
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return f"{count / 1000:.3g} kB"


def _problems(sentences: Sequence[str]) -> str:
    count = "1 entry" if len(sentences) == 1 else f"{len(sentences):,} entries"
    return f"{count} that cannot be used ({first_few(sentences, '; ')})"


def _images(count: int) -> str:
    return "1 image" if count == 1 else f"{count:,} images"
