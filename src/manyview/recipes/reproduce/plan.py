"""Plan of a table: for each row and seed, the run and the evaluations, as jobs; what is shared is planned once."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from manyview.backbones import find_weights
from manyview.config import parse_assignment
from manyview.config.schema import BackboneConfig
from manyview.config.training import BUDGETS
from manyview.errors import UserError
from manyview.options.base import among
from manyview.options.reproduce import Match, ReproduceOptions
from manyview.options.shared import ComputingOptions
from manyview.recipes.reproduce.inputs import Inputs, digest_of, read_inputs
from manyview.recipes.reproduce.jobs import Job
from manyview.recipes.reproduce.pace import Paces
from manyview.recipes.reproduce.planned_runs import PlannedRun, RowSettings, planned_run, row_settings, slug, steps_of
from manyview.recipes.reproduce.scales import Scale, instruments, matched_amount, read_scale
from manyview.recipes.reproduce.tables import OPTIONS, RANDOM, Evaluation, Row, Table, chosen_rows, flat, read_table

DEFAULT_BACKBONE: str = BackboneConfig.model_fields["name"].default


@dataclass(frozen=True)
class Measurement:
    """An evaluation of a row with a seed by one instrument."""

    evaluation: str
    instrument: str
    job: Job


@dataclass(frozen=True)
class PlannedSeed:
    """A row with one seed.

    Attributes:
        seed: of everything random.
        run: the pre-training; None for weights that exist, or are random.
        making: the job that makes the weights, if any.
        measurements: its evaluations.
    """

    seed: int
    run: PlannedRun | None
    making: Job | None
    measurements: tuple[Measurement, ...]

    @property
    def jobs(self) -> tuple[Job, ...]:
        """All jobs, in the order that they need each other."""
        return (*([self.making] if self.making else []), *(each.job for each in self.measurements))


@dataclass(frozen=True)
class PlannedRow:
    """A row with all its seeds.

    Attributes:
        row: the row.
        base: settings of its runs; None for weights.
        seeds: planned; none if it is left out.
        left_out: why it, or an evaluation of it, is left out; "" if nothing is.
    """

    row: Row
    base: RowSettings | None
    seeds: tuple[PlannedSeed, ...]
    left_out: str = ""


@dataclass(frozen=True)
class TablePlan:
    """All that a table needs.

    Attributes:
        name: of the table.
        table: rows and columns.
        file: of the table.
        scale_name: of the scale.
        scale: sizes.
        equal: what is equal between rows.
        amount: how much of it a whole row gets.
        inputs: images and labels.
        out: folder.
        rows: the planned rows.
        paces: of this machine.
    """

    name: str
    table: Table
    file: Path
    scale_name: str
    scale: Scale
    equal: Match
    amount: float | None
    inputs: Inputs
    out: Path
    rows: tuple[PlannedRow, ...]
    paces: Paces

    def groups(self) -> dict[str, list[Job]]:
        """Jobs by what they start from, each once, in the order of the rows; a group's follow each other."""
        found: dict[str, dict[str, Job]] = {}
        for planned in self.rows:
            for each in planned.seeds:
                start = each.making.folder if each.making else next((job.folder for job in each.jobs), "")
                group = found.setdefault(start, {})
                for job in each.jobs:
                    group.setdefault(job.folder, job)
        return {start: [*jobs.values()] for start, jobs in found.items() if jobs}


def make_plan_of(asked: str, options: ReproduceOptions) -> TablePlan:
    """Plan a table; the images are listed and the labels read, but nothing is trained.

    With ``match`` "time", the pace of each row is measured where it is not known.

    Args:
        asked: name or file of the table.
        options: of ``reproduce``.

    Raises:
        UserError: a table, scale, row, metric or setting that does not exist or fit; images or labels that cannot be
            used.
    """
    table, file = read_table(asked)
    scale = read_scale(options["scale"])
    rows = chosen_rows(table, options["only"])
    equal, amount = matched_amount(scale, options["match"], options["budget"])
    inputs = read_inputs(options, with_objects=scale.with_objects)
    _check_data(table, inputs)
    out = Path(options["out"])
    paces = Paces(out, inputs)
    planner = _Planner(table, file, scale, equal, amount, inputs, out, paces, options)
    return TablePlan(
        Path(asked).stem, table, file, Path(options["scale"]).stem, scale, equal, amount, inputs, out,
        tuple(planner.row(row) for row in rows), paces,
    )  # fmt: skip


def _check_data(table: Table, inputs: Inputs) -> None:
    """Refuse a table of which no column could be filled, and data that it does not know."""
    known = {evaluation.data for evaluation in table.evaluations.values()} - {None}
    for name in inputs.labeled:
        if name and name not in known:
            raise UserError(
                f"--data {name}: the table measures on no {name}"
                + (f"; it has {', '.join(sorted(map(str, known)))}" if known else "")
            )
    if table.evaluations and not any((each.data or "") in inputs.labeled for each in table.evaluations.values()):
        raise UserError("this table evaluates its rows: give --train-labels and --val-labels")


@dataclass(frozen=True)
class _Planner:
    """Plans one row after the other."""

    table: Table
    file: Path
    scale: Scale
    equal: Match
    amount: float | None
    inputs: Inputs
    out: Path
    paces: Paces
    options: ReproduceOptions

    @property
    def seeds(self) -> range:
        first = self.options["first_seed"]
        return range(first, first + (self.options["seeds"] or self.scale.seeds))

    @property
    def user(self) -> dict[str, Any]:
        """The user's settings of all runs."""
        given = settings_by_key(self.options["set"])
        computing = {"data.workers": self.options["workers"], "training.device": self.options["device"]}
        computing["training.precision"] = self.options["precision"]
        return {key: value for key, value in computing.items() if value not in (None, "auto")} | self._watched() | given

    def _watched(self) -> dict[str, Any]:
        """The labels by which runs are measured as they train, where a curve shows it."""
        labels, curves = self.inputs.train_labels, self.table.curves
        if labels is None or curves is None or "mAP" not in curves.quantities:
            return {}
        return {"monitor.eval_labels": str(labels.absolute()), **self.inputs.layout}

    def row(self, row: Row) -> PlannedRow:
        if row.recipe is not None:
            return self._trained(row)
        if row.weights == RANDOM:
            return self._random(row)
        weights = self.inputs.weights.get(row.given or "")
        if row.weights is not None:
            weights = self.file.parent / row.weights
            if not weights.exists():
                raise UserError(f"row {row.name!r}: there is no file or folder {weights}")
        if weights is None:
            return PlannedRow(row, None, (), f"weights not given: --weights {row.given}=FILE")
        first = self.seeds[0]
        name = f"{slug(row)}-{_digest_of_weights(row, weights)}-{first}"
        measurements, left_out = self._measurements(row, weights.absolute(), name, first)
        return PlannedRow(row, None, (PlannedSeed(first, None, None, measurements),), left_out)

    def _trained(self, row: Row) -> PlannedRow:
        base = row_settings(row, self.scale, self.inputs, self.user)
        steps = None
        if self.amount is not None:
            pace = self.paces.step(base) if self.equal == "time" else None
            steps = steps_of(base, self.equal, self.amount, pace)
        planned, left_out = [], ""
        for seed in self.seeds:
            run = planned_run(base, steps, seed, self.inputs, self.out)
            listed = self.inputs.list_file(self.out)
            options = {
                "images": self.inputs.images,
                "list": None if listed is None else str(listed.absolute()),
                "recipe": run.recipe,
                "settings": dict(run.settings),
            }
            making = Job("pretrain", f"{row.name}, seed {seed}: pre-training", str(run.folder), options)
            measurements, left_out = self._measurements(row, run.folder, run.folder.name, seed)
            planned.append(PlannedSeed(seed, run, making, measurements))
        return PlannedRow(row, base, tuple(planned), left_out)

    def _random(self, row: Row) -> PlannedRow:
        planned, left_out = [], ""
        listed = self.inputs.list_file(self.out)
        backbone = str(self.user.get("backbone.name", self.scale.backbone or DEFAULT_BACKBONE))
        for seed in self.seeds:
            options: dict[str, Any] = {
                "backbone": backbone,
                "images": self.inputs.images,
                "list": None if listed is None else str(listed.absolute()),
                "size": self.scale.size,
                "seed": seed,
                "workers": self.options["workers"],
                "device": self.options["device"],
            }
            told_apart = [backbone, self.scale.size, self.inputs.digest]
            name = f"random-{backbone.replace('/', '-')}-{_digest(told_apart)}-{seed}"
            making = Job("random", f"{row.name}, seed {seed}", str(self.out / "runs" / name), options)
            measurements, left_out = self._measurements(row, self.out / "runs" / name, name, seed)
            planned.append(PlannedSeed(seed, None, making, measurements))
        return PlannedRow(row, None, tuple(planned), left_out)

    def _measurements(self, row: Row, weights: Path, name: str, seed: int) -> tuple[tuple[Measurement, ...], str]:
        """The evaluations of weights, and which are left out."""
        found, missing = [], []
        for title, evaluation in self.table.evaluations.items():
            if (evaluation.data or "") not in self.inputs.labeled:
                missing.append(
                    f"{title} not measured: --data {evaluation.data}=IMAGES,TRAIN,VAL"
                    if evaluation.data
                    else f"{title} not measured: --train-labels and --val-labels"
                )
                continue
            for instrument, usual in instruments(self.scale, evaluation.verb):
                options = self._options(row, evaluation, usual, seed)
                folder = self.out / "evaluations" / name / self._folder(evaluation, instrument, options)
                words = f"{row.name}, seed {seed}: {title}" + (
                    f", {instrument}" if instrument != evaluation.verb else ""
                )
                found.append(
                    Measurement(title, instrument, Job(evaluation.verb, words, str(folder), options, str(weights)))
                )
        return tuple(found), "; ".join(missing)

    def _options(self, row: Row, evaluation: Evaluation, usual: Mapping[str, Any], seed: int) -> dict[str, Any]:
        computing = dict(among(ComputingOptions, self.options))
        # The table says how features are read, and the scale how large a detector's training is.
        of_table = (evaluation.options, usual) if evaluation.verb == "detect" else (usual, evaluation.options)
        options = {**computing, **of_table[0], **of_table[1], **row.evaluate, "seed": seed}
        if evaluation.verb != "detect":
            options.setdefault("size", round(self.scale.size * evaluation.enlarge))
        sources = self.inputs.labeled[evaluation.data or ""].options()
        return {**options, **among(OPTIONS[evaluation.verb], sources)}  # boxes are in no CSV file

    def _folder(self, evaluation: Evaluation, instrument: str, options: Mapping[str, Any]) -> str:
        """Name of an evaluation's folder, which tells apart all that its figures depend on but weights and seed."""
        sources = self.inputs.labeled[evaluation.data or ""]
        unread = {*sources.options(), *ComputingOptions.__annotations__} - {"precision"} | {"seed"}
        told_apart = {name: value for name, value in options.items() if name not in unread}
        name = evaluation.verb if instrument == evaluation.verb else f"{evaluation.verb}-{instrument}"
        return f"{name}-{_digest([told_apart, sources.fingerprint])}"


def settings_by_key(given: Mapping[str, Any] | Iterable[str]) -> dict[str, Any]:
    """Settings as ``set`` of ``pretrain`` takes them, by dotted key.

    Raises:
        UserError: a text is not KEY=VALUE, or sets the length of runs.
    """
    found = (
        flat(given) if isinstance(given, Mapping) else {item.key: item.value for item in map(parse_assignment, given)}
    )
    budgets = [f"training.{name}" for name in BUDGETS if f"training.{name}" in found]
    if budgets:
        raise UserError(
            f"--set {budgets[0]} has no effect, as --match and --budget say how long rows are: leave it out"
        )
    return found


def _digest_of_weights(row: Row, weights: Path) -> str:
    """Eight hexadecimal digits of the content of weights, wherever they lie."""
    try:
        return digest_of(find_weights(weights))[:8]
    except UserError as error:
        raise UserError(f"row {row.name!r}: {error}") from error


def _digest(told_apart: Any) -> str:
    return hashlib.sha256(json.dumps(told_apart, sort_keys=True).encode()).hexdigest()[:8]
