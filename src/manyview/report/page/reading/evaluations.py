"""Evaluations of runs: those whose record names a run's weights, as plain data."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any

from manyview.backbones.beside import PRETRAINED
from manyview.errors import UserError
from manyview.parsing import parse_json
from manyview.report.page.reading.run import RESULT_FILE, Run, lookup
from manyview.runs import sha256
from manyview.runs.figures import DETECTION, MULTI_LABEL
from manyview.runs.folder import BEST_FILE, WEIGHTS_FILE

LABELED = ("linear", "knn", "probe")
"""Evaluations on labels, the one that stands for a run first."""
_MOST_BYTES = 64 * 2**20  # of a file that is read
_MOST_FOLDERS = 2000  # beside a run that are looked into
# Of files of earlier versions, which have no tag.
_OLDER = {
    "multi-label linear classification on a frozen backbone": "linear",
    "multi-label classification by the nearest neighbours of a frozen backbone's features": "knn",
    "one-vs-rest linear classification on a frozen backbone's features of some training photographs": "probe",
    "label-free measures": "label-free",
}

Of = str
"""Which weights were measured: "last", "best", or "others" for those of this run at another time."""


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """The result of a command that measured a run's weights.

    Attributes:
        file: that holds it.
        verb: "linear", "knn", "probe", "label-free", "detect" or "neighbours".
        content: of the file.
        of: which weights.
    """

    file: Path
    verb: str
    content: Mapping[str, Any]
    of: Of

    @property
    def folder(self) -> Path:
        """The folder of the file."""
        return self.file.parent


@dataclass(frozen=True, slots=True)
class Search:
    """Results to choose from, each read once.

    Attributes:
        candidates: files with their content.
        faults: sentences on files that were found, but cannot be read.
        given: the files that can be read of each folder that was given.
    """

    candidates: tuple[tuple[Path, str, Mapping[str, Any]], ...]
    faults: tuple[str, ...]
    given: tuple[tuple[Path, frozenset[Path]], ...] = ()


def search(runs: Sequence[Path], given: Iterable[Path]) -> Search:
    """Look for results beside runs, in them, and in folders that are given.

    Args:
        runs: folders of runs.
        given: folders of results, or folders of such.

    Raises:
        UserError: a given folder does not exist, or holds no result.
    """
    faults: dict[Path, str] = {}
    files: dict[Path, Path] = {}  # by their paths without links: what is given may lie beside a run
    for run in runs:
        own = run.resolve()
        for folder in (own, *islice(_folders(own.parent), _MOST_FOLDERS), *_folders(own), own.parent):
            for file in _results_in(folder):
                files.setdefault(file.resolve(), file)
    named = [(path, [files.setdefault(file.resolve(), file) for file in _given(path)]) for path in given]
    candidates = []
    for file in files.values():
        content, fault = _read(file)
        if fault:
            faults[file] = fault
        elif verb := _verb(content):
            candidates.append((file, verb, content))
    read = tuple((path, frozenset(own).difference(faults)) for path, own in named)
    return Search(tuple(candidates), tuple(faults.values()), read)


def unused(found: Search, shown: Iterable[Found]) -> tuple[str, ...]:
    """Sentences on folders that were given, and of whose results none is shown."""
    files = {each.file for each in shown}
    return tuple(
        f"--evaluations {path} is left out: none of its results measured these weights."
        for path, own in found.given
        if own and not own & files
    )


def made_from(run: Run, found: Search) -> list[Found]:
    """The results that measured a run's weights, in the order of their commands on the page."""
    weights = _Weights(run.path.resolve())
    own = []
    for file, verb, content in found.candidates:
        of = weights.which(content, file)
        if of is not None:
            own.append(Found(file, verb, content, of))
    order = ("linear", "knn", "probe", "label-free", "detect", "neighbours")
    ranks = ("last", "best", "others")
    return sorted(own, key=lambda each: (order.index(each.verb), ranks.index(each.of), str(each.file)))


@dataclass(frozen=True, slots=True)
class _Weights:
    """A run's files of weights; their contents are hashed when that is needed."""

    folder: Path

    def which(self, content: Mapping[str, Any], file: Path) -> Of | None:
        """Which of the run's weights a result measured; None for those of others."""
        recorded = _origin(content)
        path, digest = recorded.get("weights"), recorded.get("weights_sha256")
        for name, of in ((WEIGHTS_FILE, "last"), (BEST_FILE, "best")):
            if isinstance(digest, str) and digest == _sum_of(self.folder / name):
                return of
        if not isinstance(path, str) or not path:
            return None
        # A relative path is followed from here, as nothing records where the command ran.
        given = Path(path)
        folder = given.parent if given.name in (WEIGHTS_FILE, BEST_FILE) else given
        same = _is_same(folder, self.folder)
        return "others" if same else None


def _sum_of(file: Path) -> str | None:
    try:
        return _sum_as_it_is(file, *_stamp(file)) if file.is_file() else None
    except (OSError, UserError):
        return None


@lru_cache(maxsize=64)
def _sum_as_it_is(file: Path, size: int, changed: int) -> str:
    return sha256(file)


def _stamp(file: Path) -> tuple[int, int]:
    """Size and time of change of a file, by which what was read of it is known again: a live page reads it often."""
    status = file.stat()
    return status.st_size, status.st_mtime_ns


def _is_same(folder: Path, run: Path) -> bool:
    """Whether a recorded folder is a run's, as far as can be told."""
    try:
        if folder.is_absolute():
            return folder.resolve() == run
        return folder.name not in ("", ".", "..") and (Path.cwd() / folder).resolve() == run
    except OSError:
        return False


def _origin(content: Mapping[str, Any]) -> Mapping[str, Any]:
    """Where a result records its weights."""
    protocol = content.get("protocol")
    if not isinstance(protocol, Mapping):
        return {}
    start = protocol.get("start")
    return start if isinstance(start, Mapping) and "weights" in start else protocol


def _verb(content: Mapping[str, Any]) -> str | None:
    """The command that wrote a result; None for what is shown nowhere."""
    protocol = content.get("protocol")
    if not isinstance(protocol, Mapping):
        return None
    tag = content.get("evaluation", _OLDER.get(str(protocol.get("evaluation"))))
    if tag in (*LABELED, "label-free"):
        return str(tag)
    if "box" in (content.get("results") or {}) and "architecture" in protocol:
        return "detect"
    if isinstance(content.get("results"), list) and "k" in protocol:
        return "neighbours"
    return None


def _given(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise UserError(f"--evaluations {path} does not exist: name the --out folder of linear, knn, probe or detect")
    own = _results_in(path)
    below = [file for folder in _folders(path) for file in _results_in(folder)]
    if not own and not below:
        raise UserError(
            f"--evaluations {path} holds no {RESULT_FILE}: name the --out folder of linear, knn, probe or detect, or a "
            "folder of such"
        )
    return [*own, *below]


def _folders(folder: Path) -> Iterator[Path]:
    """Folders in a folder, by name."""
    try:
        yield from sorted(each for each in folder.iterdir() if each.is_dir() and not each.name.startswith("."))
    except OSError:
        return


def _results_in(folder: Path) -> list[Path]:
    """A folder's metrics.json, and the lists of pictures of neighbors."""
    found = [folder / RESULT_FILE] if (folder / RESULT_FILE).is_file() else []
    try:
        pictures = sorted(folder.glob("*.png"))
    except OSError:
        return found
    return found + [file for picture in pictures[:200] if (file := picture.with_suffix(".json")).is_file()]


def _read(file: Path) -> tuple[Mapping[str, Any], str]:
    """The content of a file, or a sentence on why it is left out."""
    try:
        content = _content(file, *_stamp(file))
    except (OSError, ValueError) as error:
        return {}, f"{file} is left out: it cannot be read ({getattr(error, 'strerror', None) or error})."
    return (content, "") if isinstance(content, Mapping) else ({}, "")


@lru_cache(maxsize=512)
def _content(file: Path, size: int, changed: int) -> Any:
    if size > _MOST_BYTES:
        raise ValueError("larger than any result")
    return parse_json(file.read_bytes())


@dataclass(frozen=True, slots=True)
class Network:
    """Figures of one network in an evaluation on labels; fractions of 1, None where undefined.

    Attributes:
        name: "pretrained", "random_init", "initial" or another baseline's.
        figures: by name, such as "mAP".
        intervals: of the figures that have one.
        by_class: average precision of each class.
        class_intervals: of those; () without.
        false_predictions: of absent classes by what is shown, if it is recorded.
    """

    name: str
    figures: Mapping[str, float | None]
    intervals: Mapping[str, tuple[float | None, float | None]]
    by_class: tuple[float | None, ...]
    class_intervals: tuple[tuple[float | None, float | None], ...] = ()
    false_predictions: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class FewLabels:
    """Mean mAP of a network over draws of a part of the labels.

    Attributes:
        images: labeled images.
        fraction: of the training images.
        mean: of mAP.
        std: over the draws; None for one.
    """

    images: int
    fraction: float
    mean: float | None
    std: float | None


@dataclass(frozen=True, slots=True)
class Labeled:
    """An evaluation on labels.

    Attributes:
        found: its file.
        classes: names.
        train: positive training images of each class.
        val: positive validation images of each class.
        val_images: validation images.
        networks: the evaluated one first.
        curves: of ``probe``, by network.
        differences: of mAP to baselines, with intervals.
    """

    found: Found
    classes: tuple[str, ...]
    train: tuple[int, ...]
    val: tuple[int, ...]
    val_images: int
    networks: tuple[Network, ...]
    curves: Mapping[str, tuple[FewLabels, ...]]
    differences: Mapping[str, tuple[float, tuple[float | None, float | None]]]


def read_labeled(found: Found) -> Labeled:
    """The figures of an evaluation on labels.

    Raises:
        ValueError: its file is damaged.
    """
    return _parsed(_read_labeled, found)


def _parsed(parse: Callable[[Found], Any], found: Found) -> Any:
    try:
        return parse(found)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError) as error:
        raise ValueError(f"{found.file} is damaged: evaluate the weights again") from error


def _read_labeled(found: Found) -> Labeled:
    protocol, results = found.content["protocol"], found.content["results"]
    classes = tuple(str(name) for name in protocol["classes"])
    networks, curves = [], {}
    for name, own in results.items():
        if found.verb == "probe":
            summary = own[-1]["summary"]
            figures = {key: _number(summary[key]["mean"]) for key in MULTI_LABEL}
            networks.append(Network(str(name), figures, {}, _numbers(summary["AP"]["mean"], len(classes))))
            curves[str(name)] = tuple(
                FewLabels(
                    int(entry["images"]),
                    float(entry["fraction"]),
                    _number(entry["summary"]["mAP"]["mean"]),
                    _number(entry["summary"]["mAP"]["std"]),
                )
                for entry in own
            )
        else:
            networks.append(_network(str(name), own, len(classes)))
    if not networks:
        raise ValueError("no results")
    networks.sort(key=lambda each: each.name != PRETRAINED)
    return Labeled(
        found=found,
        classes=classes,
        train=tuple(map(int, protocol["train"]["positives"])),
        val=_of_each(protocol["val"]["positives"], len(classes)),
        val_images=int(protocol["val"]["count"]),
        networks=tuple(networks),
        curves=curves,
        differences=_differences(found.content.get("differences") or {}),
    )


def _of_each(values: Sequence[Any], count: int) -> tuple[int, ...]:
    if len(values) != count:
        raise ValueError("not one number for each class")
    return tuple(map(int, values))


def _network(name: str, own: Mapping[str, Any], classes: int) -> Network:
    intervals = {
        key: (_number(pair[0]), _number(pair[1]))
        for key, pair in (own.get("intervals") or {}).items()
        if len(pair) == 2
    }
    by_class = own.get("AP_intervals") or []
    false = own.get("false_predictions")
    if false is not None:
        rows = [_numbers(row, classes) for row in false["beside"]]
        false = {"rule": str(false["rule"]), "beside": rows, "overall": _numbers(false["overall"], classes)}
        if len(rows) != classes:
            raise ValueError("not one row for each class")
    return Network(
        name,
        {key: _number(own[key]) for key in MULTI_LABEL},
        intervals,
        _numbers(own["AP"], classes),
        tuple((_number(low), _number(high)) for low, high in by_class) if len(by_class) == classes else (),
        false,
    )


def _differences(content: Mapping[str, Any]) -> dict[str, tuple[float, tuple[float | None, float | None]]]:
    found = {}
    for name, entry in content.items():
        value, pair = _number(entry["mAP"]), entry.get("interval") or (None, None)
        if value is not None:
            found[str(name)] = (value, (_number(pair[0]), _number(pair[1])))
    return found


def _numbers(values: Sequence[Any], count: int) -> tuple[float | None, ...]:
    if len(values) != count:
        raise ValueError("not one number for each class")
    return tuple(map(_number, values))


def _number(value: Any) -> float | None:
    if value is None:
        return None
    number = float(value)
    return number if number - number == 0 else None


@dataclass(frozen=True, slots=True)
class Detector:
    """A detector fine-tuned on a run's weights.

    Attributes:
        found: its file.
        classes: names.
        figures: of the detector and each baseline: by name, figures by title such as "box AP".
        by_class: average precision of boxes of each class.
        picture: of detections; None without.
    """

    found: Found
    classes: tuple[str, ...]
    figures: Mapping[str, Mapping[str, float | None]]
    by_class: tuple[float | None, ...]
    picture: Path | None


def read_detector(found: Found) -> Detector:
    """The figures of a detector.

    Raises:
        ValueError: its file is damaged.
    """
    detector: Detector = _parsed(_read_detector, found)
    return detector


def _read_detector(found: Found) -> Detector:
    content = found.content
    classes = tuple(map(str, content["protocol"]["classes"]))
    starts = {PRETRAINED: content, **(content.get("beside") or {})}
    figures = {
        str(name): {
            title: _number(lookup(each, f"results.{protocol}.{key}"))
            for title, (protocol, key) in DETECTION.items()
            if protocol in content["results"]
        }
        for name, each in starts.items()
    }
    picture = found.folder / "predictions.png"
    by_class = _numbers(content["results"]["box"]["AP_by_class"], len(classes))
    return Detector(found, classes, figures, by_class, picture if picture.is_file() else None)
