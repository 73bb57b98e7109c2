"""One job of a table, as plain data: a pre-training, random weights, or an evaluation; also as a process of its own.

    python -m manyview.recipes.reproduce.jobs JOBS.json

does the jobs of a file one after the other, which is how several GPUs work on a table.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from manyview.errors import UserError
from manyview.parsing import parse_json
from manyview.runs import RunFolder
from manyview.runs.progress import Phases, no_phases
from manyview.runs.sealed import written_step

State = Literal["new", "begun", "done"]
METRICS_FILE = "metrics.json"


@dataclass(frozen=True)
class Job:
    """Work on one folder, which is done once.

    Attributes:
        kind: "pretrain", "random", or an evaluation's verb: "linear", "knn", "detect".
        name: in words.
        folder: of the run or the evaluation.
        options: of the Python function behind it.
        weights: of an evaluation: run folder or checkpoint.
    """

    kind: Literal["pretrain", "random", "linear", "knn", "detect"]
    name: str
    folder: str
    options: dict[str, Any]
    weights: str | None = None

    @property
    def state(self) -> State:
        """Whether it is done, was begun, or neither."""
        folder = Path(self.folder)
        if self.kind == "pretrain":
            return run_state(RunFolder(folder))
        if self.kind == "random":
            return "done" if RunFolder(folder).weights.is_file() else "new"
        if (folder / METRICS_FILE).is_file():
            return "done"
        return "begun" if _is_begun(folder, self.kind) else "new"


def do(job: Job, *, phases: Phases = no_phases, quiet: bool = True) -> None:
    """Do a job, or what is left of it.

    Args:
        job: the job.
        phases: progress bars of evaluations.
        quiet: print nothing of pre-training and fine-tuning.

    Raises:
        UserError: as the Python function behind it.
        KeyboardInterrupt, SystemExit: Ctrl-C or SIGTERM; what is done is kept.
    """
    state = job.state
    if state == "done":
        return
    if job.kind == "pretrain":
        _pretrain(job, state, quiet)
    elif job.kind == "random":
        from manyview.recipes.reproduce.random_weights import write_random

        write_random(RunFolder(Path(job.folder)), **job.options)
    else:
        _evaluate(job, state, phases, quiet)


def run_state(run: RunFolder) -> State:
    """Whether a run has its last step, was begun, or neither."""
    if not run.holds_a_run:
        return "new"
    steps = run.read_json("run.json")["plan"]["steps"]
    return "done" if written_step(run.weights) == steps else "begun"


def _is_begun(folder: Path, verb: str) -> bool:
    from manyview.evaluation.resume import FOLDER, PROTOCOL_FILE

    if verb == "detect":
        return RunFolder(folder).holds_a_run
    return (folder / FOLDER / PROTOCOL_FILE).is_file()


def _pretrain(job: Job, state: State, quiet: bool) -> None:
    from manyview.recipes.launch import pretrain

    images, listed = job.options["images"], job.options["list"]
    if state == "begun":  # with the settings that it has
        pretrain(images, job.folder, list=listed, resume=True, quiet=quiet, advise=False)
        return
    settings = job.options["settings"]
    recipe = job.options["recipe"]
    pretrain(images, job.folder, recipe=recipe, list=listed, set=settings, quiet=quiet, advise=False)


def _evaluate(job: Job, state: State, phases: Phases, quiet: bool) -> None:
    options, resume = {**job.options, "out": job.folder, "beside": "none"}, state == "begun"
    assert job.weights is not None
    if job.kind == "detect":
        from manyview.detection.finetune import fine_tune

        fine_tune(job.weights, quiet=quiet, resume=resume, **options)
        return
    from manyview.evaluation import knn_evaluation, linear_evaluation

    with phases() as progress:
        if job.kind == "linear":
            linear_evaluation(job.weights, progress=progress, resume=resume, **options)
        else:
            knn_evaluation(job.weights, progress=progress, **options)


def write_jobs(file: Path, jobs: list[Job]) -> None:
    """Write jobs for ``main``."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps([asdict(job) for job in jobs], indent=1))


def read_jobs(file: Path) -> list[Job]:
    """Read what ``write_jobs`` wrote."""
    return [Job(**entry) for entry in parse_json(file.read_text())]


def main(arguments: Sequence[str] | None = None) -> int:
    """Do the jobs of a file; 0 when all are done, 2 on a user's mistake, which is the last line of the output."""
    [file] = sys.argv[1:] if arguments is None else arguments
    try:
        for job in read_jobs(Path(file)):
            print(job.name, flush=True)
            do(job, quiet=False)
    except UserError as error:
        print("Error: " + " ".join(str(error).split()), flush=True)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
