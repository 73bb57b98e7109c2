"""Find and read the evaluations to compare.

``TYPES`` lists the comparable evaluations: tag, shape of the results, and their conversion to points.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError, create_model

from manyview.backbones.beside import PRETRAINED, RANDOM_INIT
from manyview.errors import UserError
from manyview.evaluation.beside import ZERO_ONE
from manyview.evaluation.metrics.decisions import PER_CLASS
from manyview.evaluation.metrics.multilabel import BY_CLASS, METRICS
from manyview.evaluation.resume import RESULT_FILE
from manyview.parsing import parse_json
from manyview.runs import RunFolder

_Figure = float | None  # None where it is undefined
_STRICT = ConfigDict(strict=True, extra="ignore")
_REPORT_FIELDS: dict[str, Any] = {
    **dict.fromkeys(METRICS, (_Figure, ...)),
    "AP": (list[_Figure], ...),
    **dict.fromkeys(PER_CLASS, (list[_Figure], None)),
    "intervals": (dict[str, list[_Figure]], None),
}
Report: type[BaseModel] = create_model("Report", __config__=_STRICT, **_REPORT_FIELDS)


class _Difference(BaseModel):
    model_config = _STRICT
    mAP: _Figure  # noqa: N815 - as in the file
    interval: list[_Figure] | None


_DIFFERENCES = TypeAdapter(dict[str, _Difference])


class Drawn(BaseModel):
    """Metrics of classifiers fitted on a part of the labels, for each draw."""

    model_config = _STRICT
    fraction: float
    images: int
    runs: list[Report]  # type: ignore[valid-type]  # made above, from the metrics' names


@dataclass(frozen=True, slots=True)
class Point:
    """Metrics of one backbone with one amount of labels.

    Attributes:
        fraction: of the training images; None if all are always used.
        images: their number; None if all are always used.
        runs: metrics of each draw of the images; one if nothing is drawn.
    """

    fraction: float | None
    images: int | None
    runs: tuple[Mapping[str, Any], ...]


def _single(report: BaseModel) -> tuple[Point, ...]:
    return (Point(None, None, (report.model_dump(exclude_unset=True),)),)


def _curve(entries: list[Drawn]) -> tuple[Point, ...]:
    return tuple(
        Point(entry.fraction, entry.images, tuple(run.model_dump(exclude_unset=True) for run in entry.runs))  # type: ignore[attr-defined]
        for entry in entries
    )


@dataclass(frozen=True, slots=True)
class EvaluationType:
    """A type of evaluation that can be compared.

    Attributes:
        tag: value of "evaluation" in its files, and the command's verb.
        title: of its tables.
        headline: keys of the protocol shown above its tables.
        parse: validates "results" of its files; raises pydantic's ``ValidationError``.
        points: converts the parsed results of one backbone.
    """

    tag: str
    title: str
    headline: tuple[str, ...]
    parse: Callable[[Any], dict[str, Any]] = TypeAdapter(dict[str, Report]).validate_python
    points: Callable[[Any], tuple[Point, ...]] = _single


TYPES = (
    EvaluationType(
        "linear", "Multi-label linear evaluation", ("layer", "pool", "size", "recipe", "cached", "epochs", "threshold")
    ),
    EvaluationType("knn", "Multi-label kNN", ("layer", "pool", "size", "neighbours", "temperature", "threshold")),
    EvaluationType(
        "probe",
        "One-vs-rest linear classification on a part of the labels",
        ("layer", "pool", "size", "classifier", "scaling", "costs"),
        TypeAdapter(dict[str, list[Drawn]]).validate_python,
        _curve,
    ),
)

_OLDER_TAGS = {
    "multi-label linear classification on a frozen backbone": "linear",
    "multi-label classification by the nearest neighbours of a frozen backbone's features": "knn",
    "one-vs-rest linear classification on a frozen backbone's features of some training photographs": "probe",
}
"""Tags by "evaluation" in the protocol, for files without a tag that earlier versions wrote."""

_VERBS = "linear, knn or probe"
_NAMED = 3  # most evaluations that a message names


class _Split(BaseModel):
    model_config = ConfigDict(strict=True, extra="allow")
    count: int
    positives: list[int]
    ignored: list[int] | None = None


class _Protocol(BaseModel):
    model_config = ConfigDict(strict=True, extra="allow")
    weights: str
    weights_sha256: str
    classes: list[str]
    val: _Split


@dataclass(frozen=True, slots=True, eq=False)
class Evaluation:
    """One evaluation, read from its file.

    Attributes:
        file: its metrics.json.
        type: of the evaluation.
        protocol: all that its figures depend on.
        points: metrics of each backbone: "pretrained", and baselines such as "random_init".
        differences: of mAP to the baselines, paired by images; {} in files of earlier versions.
    """

    file: Path
    type: EvaluationType
    protocol: Mapping[str, Any]
    points: Mapping[str, tuple[Point, ...]]
    differences: Mapping[str, Any] = field(default_factory=dict)

    @property
    def norm_statistics(self) -> str | None:
        """Statistics of the norms of random init, "measured" or "zero-one"; None without either."""
        if RANDOM_INIT not in self.points:
            return None
        # Earlier versions had no other than 0 and 1, and no record of baselines.
        about = self.protocol.get("beside", {}).get(RANDOM_INIT, {"norm_statistics": ZERO_ONE})
        statistics: str | None = about["norm_statistics"]
        return statistics

    @property
    def path(self) -> Path:
        """The evaluation's folder, or its file without ending if that is not called metrics.json."""
        return self.file.parent if self.file.name == RESULT_FILE else self.file.with_suffix("")

    @property
    def val(self) -> dict[str, Any]:
        """Validation images: "count", and by class "positives" and "ignored" (labels left out)."""
        val = self.protocol["val"]
        # Older files have no count of the ignored labels.
        ignored = val.get("ignored") or [0] * len(self.classes)
        return {"count": val["count"], "positives": val["positives"], "ignored": ignored}

    @property
    def classes(self) -> list[str]:
        """Names of the classes, in the order of the figures."""
        return list(self.protocol["classes"])


def find(given: Path) -> list[Path]:
    """The files of the evaluations under a path.

    Args:
        given: a metrics.json, a folder that holds one, or a folder of such folders.

    Raises:
        UserError: if there is none.
    """
    if given.is_file():
        return [given]
    if not given.is_dir():
        raise UserError(f"{given} does not exist: give the --out folder of manyview {_VERBS}")
    if (given / RESULT_FILE).is_file():
        return [given / RESULT_FILE]
    below = sorted(file for file in given.glob(f"*/{RESULT_FILE}") if file.is_file())
    if RunFolder(given).holds_a_run:
        advice = f"it holds these: {_names(iter(below))}" if below else f"evaluate it first with manyview {_VERBS}"
        raise UserError(f"{given} is a pre-training run, not an evaluation: {advice}")
    if not below:
        deeper = (file for file in given.rglob(RESULT_FILE) if file.is_file())
        if first := next(deeper, None):
            raise UserError(
                f"{given} holds no evaluation, but folders below it do: give {_names(itertools.chain([first], deeper))}"
            )
        raise UserError(f"{given} holds no {RESULT_FILE}: give the --out folder of manyview {_VERBS}")
    return below


def read(file: Path) -> Evaluation:
    """Read one evaluation's file.

    Raises:
        UserError: if it cannot be read, is damaged, or is of another type.
    """
    content = _load(file)
    protocol = content.get("protocol") if isinstance(content, dict) else None
    if not isinstance(protocol, dict):
        raise UserError(f"{file} is not the result of an evaluation: give that of manyview {_VERBS}")
    tag = content.get("evaluation", _OLDER_TAGS.get(str(protocol.get("evaluation"))))
    found = next((each for each in TYPES if each.tag == tag), None)
    if found is None:
        what = next((f" ({protocol[key]})" for key in ("evaluation", "kind") if key in protocol), "")
        raise UserError(f"{file} is of another type{what}: compare takes results of manyview {_VERBS}")
    try:
        _Protocol.model_validate(protocol)
        results = found.parse(content.get("results"))
    except ValidationError as error:
        problem = error.errors()[0]
        where = ".".join(map(str, problem["loc"])) or "results"
        raise UserError(f"{file} is damaged: {where}: {problem['msg']}; evaluate the weights again") from error
    if PRETRAINED not in results:
        raise UserError(
            f"{file} is damaged: it has no results for the pre-trained backbone; evaluate the weights again"
        )
    points = {name: found.points(entry) for name, entry in results.items()}
    evaluation = Evaluation(file, found, protocol, points, _differences(content, file))
    _check_points(evaluation)
    return evaluation


def _differences(content: Mapping[str, Any], file: Path) -> dict[str, Any]:
    try:
        return _DIFFERENCES.dump_python(_DIFFERENCES.validate_python(content.get("differences", {})))  # type: ignore[no-any-return]
    except ValidationError as error:
        raise UserError(
            f"{file} is damaged: differences: {error.errors()[0]['msg']}; evaluate the weights again"
        ) from error


def _load(file: Path) -> Any:
    try:
        return parse_json(file.read_bytes())
    except OSError as error:
        raise UserError(f"cannot read {file}: {error.strerror or error}") from error
    except ValueError as error:
        raise UserError(f"{file} is not JSON, or damaged ({error}): give a {RESULT_FILE} of an evaluation") from error


def _check_points(evaluation: Evaluation) -> None:
    """Refuse a file whose figures do not fit its number of classes."""
    classes = len(evaluation.classes)
    for key in ("positives", "ignored"):
        if len(evaluation.val[key]) != classes:
            problem = f"val.{key} is not one number for each of {classes} classes"
            raise UserError(f"{evaluation.file} is damaged: {problem}; evaluate the weights again")
    for name, points in evaluation.points.items():
        if not points or not all(point.runs for point in points):
            raise UserError(f"{evaluation.file} is damaged: results.{name} is empty; evaluate the weights again")
        for run in itertools.chain.from_iterable(point.runs for point in points):
            wrong = [metric for metric in BY_CLASS if metric in run and len(run[metric]) != classes]
            if wrong:
                problem = f"{wrong[0]} of {name} is not one number for each of {classes} classes"
                raise UserError(f"{evaluation.file} is damaged: {problem}; evaluate the weights again")


def _names(files: Iterator[Path]) -> str:
    """The folders of some files; the first few are named."""
    shown = [str(file.parent) for file in itertools.islice(files, _NAMED)]
    rest = sum(1 for _ in files)
    return ", ".join(shown) + (f" and {rest} more" if rest else "")
