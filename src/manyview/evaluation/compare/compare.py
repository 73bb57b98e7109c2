"""Comparison of evaluations over seeds and classes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Unpack

from manyview.backbones.beside import PRETRAINED
from manyview.errors import UserError
from manyview.evaluation.compare.group import Group, make_groups
from manyview.evaluation.compare.protocols import compared, differing, sentences
from manyview.evaluation.compare.read import Evaluation
from manyview.evaluation.compare.summary import common_fraction, summary_rows
from manyview.evaluation.compare.tables import as_csv, as_markdown
from manyview.evaluation.resume import RESULT_FILE
from manyview.evaluation.session import write_result
from manyview.options.base import StrPath, verb
from manyview.options.labeled import CompareOptions
from manyview.runs import atomic_write, provenance
from manyview.runs.files import claim_folder, plain
from manyview.runs.result import Result

TABLE_FILE, CSV_FILE, PICTURE_FILE = "comparison.md", "comparison.csv", "comparison.png"
KIND = "comparison of evaluations"


@verb(CompareOptions)
def compare(evaluations: Iterable[StrPath] = (), **options: Unpack[CompareOptions]) -> Result:
    """Compare evaluations of one type: mean and standard deviation over seeds, and differences by class.

    Evaluations that differ only in seeds form a group, whose mean and sample standard deviation are compared. Their
    protocols are the same but for seeds and weights, and the weights are the same, or those of pre-training runs whose
    config.json is the same but for ``training.seed``. Within one folder they also form a group if the runs' folders are
    gone. Evaluations of the same weights with the same figures count once.

    Other differences between protocols are reported in "warnings". Evaluations of different types, or with different
    classes, are refused.

    Args:
        evaluations: folders that hold the metrics.json of ``linear_evaluation``, ``knn_evaluation`` or
            ``low_label_evaluation``, such files, or folders of such folders.
        **options: as ``CompareOptions`` declares them.

    Returns:
        Plain data, as in metrics.json: "protocol" ("kind" (type of evaluation), "baseline", "classes", "val" (counts),
        "shared" (protocol entries that are the same in all evaluations), "differing" (the others, by group),
        "per_class_fraction" (of the labels, at which classes are compared)), "groups" (the members of each: "file",
        "weights", "weights_sha256", "seed" and "differences" (to its baselines)), "warnings", "results" (what
        ``summary_rows`` gives: figures as fractions of 1) and "provenance". None stands for what is undefined.

    Raises:
        UserError: if there is nothing to compare, an evaluation is missing, damaged, given twice, or not comparable
            with the others, there is no such baseline, or ``out`` holds results already or cannot be written.
    """
    groups, baseline, out, classes = options["groups"], options["baseline"], options["out"], options["classes"]
    if classes is not None and classes < 1:
        raise UserError(f"classes must be at least 1, not {classes}")
    if out is not None:
        claim_folder(Path(out), RESULT_FILE, TABLE_FILE, CSV_FILE, PICTURE_FILE)
    made = make_groups(
        map(Path, evaluations), {name: [Path(path) for path in paths] for name, paths in (groups or {}).items()}
    )
    names = [group.name for group in made]
    if baseline is not None and baseline not in names:
        raise UserError(f"there is no group {baseline} to be the baseline: the groups are {', '.join(names)}")
    result = Result(_result(made, baseline or names[0]))
    if out is not None:
        _write(Path(out), result, classes)
    return result


def _result(groups: Sequence[Group], baseline: str) -> dict[str, Any]:
    first = groups[0].members[0]
    rows = summary_rows(groups, baseline)
    different = differing({group.name: [member.protocol for member in group.members] for group in groups})
    shared = {key: value for key, value in compared(first.protocol).items() if key not in different}
    protocol = {
        "evaluation": KIND,
        "kind": first.type.tag,
        "title": first.type.title,
        "headline": [key for key in first.type.headline if key in shared],
        "baseline": baseline,
        "deviation": "sample standard deviation (n - 1) over a group's evaluations; of one evaluation, over its draws",
        "classes": first.classes,
        "val": first.val,
        "per_class_fraction": common_fraction(rows),
        "shared": shared,
        "differing": different,
    }
    result = {
        "evaluation": "compare",
        "protocol": protocol,
        "groups": {group.name: [_describe(member) for member in group.members] for group in groups},
        "warnings": sentences(different)
        + _other_norms(groups)
        + _counted_once(groups, rows)
        + [warning for group in groups for warning in group.warnings],
        "results": rows,
        "provenance": provenance(),
    }
    finite: dict[str, Any] = plain(result)
    return finite


def _describe(member: Evaluation) -> dict[str, Any]:
    seed = member.protocol.get("seed", member.protocol.get("seeds"))
    weights = {key: member.protocol[key] for key in ("weights", "weights_sha256")}
    return {"file": str(member.file), **weights, "seed": seed, "differences": dict(member.differences)}


def _other_norms(groups: Sequence[Group]) -> list[str]:
    """A warning where random init has other norm statistics in some groups."""
    by_statistics: dict[str, list[str]] = {}
    for group in groups:
        if group.norm_statistics is not None:
            by_statistics.setdefault(group.norm_statistics, []).append(group.name)
    if len(by_statistics) < 2:
        return []
    parts = ", ".join(f"{statistics} ({', '.join(names)})" for statistics, names in by_statistics.items())
    return [f"random init has norm statistics {parts}: its figures do not compare"]


def _counted_once(groups: Sequence[Group], rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """Warnings about groups in which evaluations with equal figures count once."""
    counted = {
        row["group"]: row["summary"]["mAP"]["n"] if row["over"] == "evaluations" else 1
        for row in rows
        if row["network"] == PRETRAINED
    }
    return [
        f"{group.name} has {len(group.members)} evaluations, but only {counted[group.name]} different: where the same "
        "weights gave the same figures, these do not depend on the seed, and they count once"
        for group in groups
        if counted[group.name] < len(group.members)
    ]


def _write(out: Path, result: dict[str, Any], classes: int | None) -> None:
    """Write all files, metrics.json last: where it exists, the others do too."""
    atomic_write(out / TABLE_FILE, as_markdown(result))
    atomic_write(out / CSV_FILE, as_csv(result))
    from manyview.evaluation.compare.figure import draw_comparison

    atomic_write(out / PICTURE_FILE, draw_comparison(result, classes))
    write_result(out, result)
