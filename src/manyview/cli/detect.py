"""``manyview detect``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from manyview.cli.parts.command import command, flag
from manyview.options.base import REQUIRED, among, declared
from manyview.options.detection import FineTunedOn, FineTuneOptions, PredictedWith, PredictOptions, StartWeights

_TAKEN = (StartWeights, FineTunedOn, PredictedWith, FineTuneOptions)


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
    _fine_tune(given)


def _fine_tune(options: dict[str, Any]) -> None:
    from manyview.detection.finetune import fine_tune
    from manyview.detection.tables import format_starts
    from manyview.distributed import rank
    from manyview.terminal import SafeConsole

    result = fine_tune(**options)
    if "beside" in result:
        console = SafeConsole(quiet=rank() > 0)
        console.print(format_starts(result))
        file = Path(options["out"]) / "metrics.json"
        console.print(f"Written to {file}", highlight=False, markup=False, soft_wrap=True)


def _predict(run: Path, options: PredictOptions) -> None:
    from manyview.cli.parts.progress import phases
    from manyview.detection.models.roi_heads import DETECTIONS, SCORE_THRESHOLD
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
    kept = f"all that score {SCORE_THRESHOLD:g} or more, but at most {DETECTIONS} an image"
    console.print(f"{result['objects']:,} detections in {result['photographs']:,} images: {kept}.", highlight=False)
    files = [result[name] for name in ("results", "images", "picture") if result[name]]
    console.print(f"Written to {', '.join(files)}", highlight=False, markup=False)


def _check_options(given: dict[str, Any], *, predicting: bool) -> None:
    """Refuse options without effect, and report required ones that are missing."""
    from manyview.errors import UserError

    options, read = declared(*_TAKEN), declared(PredictOptions)
    for name, value in given.items():
        default = options[name].option.default
        if predicting and name not in read and value != (None if default is REQUIRED else default):
            raise UserError(f"{flag(options[name])} has no effect with --predict; leave one of them out")
    for name in declared(PredictOptions if predicting else FineTuneOptions):
        if options[name].option.default is REQUIRED and given[name] is None:
            raise UserError(f"{flag(options[name])} is missing; see manyview detect --help")
