"""Options of the command and of its steps' processes; imports only Python's standard library."""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks.gpu import __doc__ as description
from benchmarks.gpu.steps import LIMITS


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        "python -m benchmarks.gpu", description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("steps", nargs="*", metavar="STEP", help=f"of {', '.join(LIMITS)}; none: all")
    parser.add_argument("--out", type=Path, required=True, help="folder for a JSON file a step")
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir(), "manyview-gpu"), help="for runs")
    parser.add_argument("--wheels", type=Path, help="folder of wheels to use in addition to the installed packages")
    parser.add_argument("--photos", type=Path, help="folder of images; unset: synthetic scenes")
    parser.add_argument("--train-labels", type=Path, help="training labels of --photos, for the step quality")
    parser.add_argument("--val-labels", type=Path, help="validation labels of --photos, for the step quality")
    parser.add_argument("--quality", default="", help="further options of benchmarks.evaluation.quality, in one string")
    parser.add_argument("--boxes", type=Path, help="folder of images with boxes, for the step detection")
    parser.add_argument("--train-boxes", type=Path, help="training objects in --boxes, in any label format")
    parser.add_argument("--val-boxes", type=Path, help="validation objects in --boxes, in any label format")
    parser.add_argument(
        "--weights", type=Path, help="run or checkpoint for the step detection; unset: pre-trained by it"
    )
    parser.add_argument(
        "--detection", default="", help="more options of benchmarks.detection.fine_tuning, in one string"
    )
    parser.add_argument("--commit", help="of this copy, where it has no git; recorded in all results")
    parser.add_argument(
        "--minutes",
        type=_limit,
        action="append",
        default=[],
        metavar="N | STEP=N",
        help="time for all steps together, shared out so that the last one fills what is left; or one step's limit",
    )
    parser.add_argument("--tiny", action="store_true", help="sizes too small for meaningful figures, on a CPU too")
    options = parser.parse_args(arguments)
    unknown = set(options.steps) - set(LIMITS)
    if unknown:
        parser.error(f"there is no step {min(unknown)}; choose from {', '.join(LIMITS)}")
    if bool(options.train_labels) != bool(options.val_labels) or (options.train_labels and not options.photos):
        parser.error("give --photos, --train-labels and --val-labels together")
    if len({bool(options.boxes), bool(options.train_boxes), bool(options.val_boxes)}) > 1:
        parser.error("give --boxes, --train-boxes and --val-boxes together")
    options.out, options.work = options.out.resolve(), options.work.resolve()
    return options


def _limit(text: str) -> tuple[str | None, float]:
    """A step, or None for all of them, and its minutes."""
    step, equals, minutes = text.rpartition("=")
    if equals and step not in LIMITS:
        raise argparse.ArgumentTypeError(f"{step!r} is no step; choose from {', '.join(LIMITS)}")
    return step or None, float(minutes)
