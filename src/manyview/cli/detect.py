"""``manyview detect``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from manyview.cli.parts.command import command, flag
from manyview.options.base import REQUIRED, among, declared
from manyview.options.detection import (
    FineTunedOn,
    FineTuneOptions,
    KeptDetections,
    PredictedWith,
    PredictOptions,
    StartWeights,
)

_TAKEN = (StartWeights, FineTunedOn, PredictedWith, FineTuneOptions, KeptDetections)


@command(*_TAKEN, optional=True)
def detect(predict: Path | None, **given: Any) -> None:
    """Fine-tune a detector on a backbone and evaluate it; or detect objects in new images.

    Example: manyview detect runs/a --images photos --train-labels train.json --val-labels val.json --out runs/a-boxes
    --iterations 2000 --short-side 256-384 --draw 8

    With that detector: manyview detect --predict runs/a-boxes --images new-photos --out found.json --draw 8
    """
    _check_options(given, predicting=predict is not None)
    if predict is not None:
        _predict(predict, among(PredictOptions, given))
        return
    _fine_tune(given["weights"], among(FineTuneOptions, given))


def _fine_tune(weights: Path | None, options: FineTuneOptions) -> None:
    from manyview.detection.finetune import fine_tune
    from manyview.detection.tables import format_classes, format_starts
    from manyview.distributed import rank
    from manyview.terminal import SafeConsole

    result = fine_tune(weights, **options)
    console = SafeConsole(quiet=rank() > 0)
    if "by_class" in result:  # results of earlier versions have none
        console.print(format_classes(result))
    if "beside" in result:
        console.print(format_starts(result))
    for remark in result.get("remarks", ()):
        console.print(remark, style="yellow", highlight=False, soft_wrap=True)
    file = Path(options["out"]) / "metrics.json"
    console.print(f"Written to {file}", highlight=False, soft_wrap=True)


def _predict(run: Path, options: PredictOptions) -> None:
    from manyview.cli.parts.progress import phases
    from manyview.detection.predict import predict
    from manyview.terminal import SafeConsole

    with phases() as progress:
        result = predict(run, **options, progress=progress)
    console = SafeConsole(soft_wrap=True)
    skipped = result["skipped"]
    if result["left_out"]:
        console.print(result["left_out"], highlight=False, markup=False)
    if skipped:
        console.print(
            f"Left out, as they cannot be read: {len(skipped):,}, such as {skipped[0]}", highlight=False, markup=False
        )
    console.print(result["kept"], highlight=False)
    if result["drawn"]:
        console.print(result["drawn"], highlight=False)
    files = [result[name] for name in ("results", "images", "picture", "pictures") if result[name]]
    size = Path(result["results"]).stat().st_size
    large = f"{size / 1e6:,.1f} MB" if size >= 1e6 else f"{size / 1e3:,.1f} kB"
    console.print(f"Written to {', '.join(files)} (the first has {large})", highlight=False)


def _check_options(given: dict[str, Any], *, predicting: bool) -> None:
    """Refuse options without effect, and report required ones that are missing."""
    from manyview.errors import UserError

    options, read = declared(*_TAKEN), declared(*([PredictOptions] if predicting else [StartWeights, FineTuneOptions]))
    where, advice = ("with", "leave one of them out") if predicting else ("without", "leave it out")
    for name, value in given.items():
        default = options[name].option.default
        if name not in read and value != (None if default is REQUIRED else default):
            raise UserError(f"{flag(options[name])} has no effect {where} --predict; {advice}")
    for name, each in declared(PredictOptions if predicting else FineTuneOptions).items():
        if each.option.default is REQUIRED and given[name] is None:
            raise UserError(f"{flag(options[name])} is missing; see manyview detect --help")
