"""Core time to a given quality: manyview's recipes beside the training loops of lightly's documentation.

    python -m benchmarks.peers.hours --images SCENES/images --train SCENES/train.csv --val SCENES/val.csv --out hours
    python -m benchmarks.peers.hours ... --only "manyview recommended"      # one at a time, into the same --out

Every contestant pre-trains a ResNet-18 on the images of --train, without their labels, on one core, loading and
starting included. lightly's loops have a constant learning rate: each is one run, whose weights are measured after
--marks of core minutes. manyview's have a schedule: each point is a run of its own. mAP is that of logistic regression
on average-pooled features of the images at --eval-size. Counted is core time, which other work on the machine hardly
changes, and which has nothing of the time that a loop waits for its loader. What is in --out is not made again.
"""

from __future__ import annotations

import argparse
import json
import shlex
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.arguments import add_labeled_images, command_line, parsed
from benchmarks.peers.loop import weights_at
from benchmarks.peers.watch import watch
from benchmarks.records import origin, put_between_markers, table, write_json
from manyview.backbones.beside import PRETRAINED, RANDOM_INIT
from manyview.evaluation import linear_evaluation
from manyview.runs import atomic_write, provenance

POLL = 0.5  # seconds
ONE_CORE = {"OMP_NUM_THREADS": "1"}  # environment of a contestant
MARKS = (5.0, 10.0, 20.0, 40.0, 80.0)


@dataclass(frozen=True)
class Contestant:
    """What is compared.

    Attributes:
        name: for tables.
        how: what it is, in a few words.
        recipe: of manyview; none: lightly's loop.
        steps: of each of manyview's runs.
        words: options of the loop, or of ``manyview pretrain``.
        start: the random init that it begins from.
    """

    name: str
    how: str
    recipe: str = ""
    steps: tuple[int, ...] = ()
    words: tuple[str, ...] = ()
    start: str = RANDOM_INIT

    @property
    def is_peer(self) -> bool:
        return not self.recipe


RESIDUALS_AT_ZERO = f"{RANDOM_INIT}, residual branches at zero"

CONTESTANTS = (
    Contestant("manyview recommended", "`--recipe recommended`", "recommended", (39, 78, 150, 300, 900)),
    Contestant("lightly SimSiam", "the loop of lightly's page on SimSiam", words=("simsiam",)),
    Contestant("lightly SimCLR", "the loop of its page on SimCLR", words=("simclr",)),
    Contestant(
        "lightly SimCLR, tuned",
        "the same with momentum .9 and weight decay 1e-4",
        words=("simclr", "--momentum", "0.9", "--weight-decay", "1e-4"),
    ),
    Contestant(
        "manyview simsiam", "`--recipe simsiam`", "simsiam", (75, 378), ("--batch-size", "256"), RESIDUALS_AT_ZERO
    ),
)


def main(arguments: Sequence[str] | None = None) -> None:
    options = parse(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    for contestant in CONTESTANTS:
        if contestant.name in options.only:
            place(contestant, options).mkdir(exist_ok=True)
            for weights, story in trained(contestant, options):
                file = place(contestant, options) / f"{weights.stem}.point.json"
                if not file.is_file():
                    point = {**story, **evaluated(contestant, weights, options)}
                    write_json(file, point | {"commit": provenance()["commit"]})
    made = {each.name: points(each, options) for each in CONTESTANTS}
    report({name: found for name, found in made.items() if found}, options)


def trained(contestant: Contestant, options: argparse.Namespace) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Weights of a contestant, each as soon as it is there, and how much they have seen after what core time."""
    if contestant.is_peer:
        yield from loop(contestant, options)
        return
    for steps in contestant.steps:
        weights = place(contestant, options) / f"{steps}-steps.safetensors"
        told = weights.with_suffix(".json")
        if not told.is_file():
            pretrain(contestant, steps, weights, options)
        yield weights, json.loads(told.read_text())


def loop(contestant: Contestant, options: argparse.Namespace) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Up to each mark: the loop goes on from the one before."""
    folder = place(contestant, options)
    for index, mark in enumerate(options.marks):
        weights = weights_at(folder, mark)
        if not weights.with_suffix(".json").is_file():
            words = [sys.executable, "-m", "benchmarks.peers.loop", *contestant.words, "--images", str(options.images)]
            words += ["--list", str(options.train), "--out", str(folder), "--view-size", str(options.view_size)]
            words += [
                "--seed",
                str(options.seed),
                "--core-minutes",
                *(f"{each:g}" for each in options.marks[: index + 1]),
            ]
            watch(words + shlex.split(options.peer_options), folder / "metrics.jsonl", ONE_CORE, folder / "printed.log")
        yield weights, json.loads(weights.with_suffix(".json").read_text())


def pretrain(contestant: Contestant, steps: int, weights: Path, options: argparse.Namespace) -> None:
    """A run of manyview's command, of which the weights are kept, with what they took."""
    run = weights.with_suffix("")
    shutil.rmtree(run, ignore_errors=True)  # one that was stopped: its core time is not known
    words = [sys.executable, "-m", "manyview", "pretrain", str(options.images), "--list", str(options.train)]
    words += ["--out", str(run), "--recipe", contestant.recipe, "--backbone", "resnet18", "--steps", str(steps)]
    words += ["--view-size", str(options.view_size), "--seed", str(options.seed), *contestant.words]
    words += ["--set", "data.workers=1", "--set", "training.device=cpu", *shlex.split(options.own_options)]
    seen = watch(words, run / "metrics.jsonl", ONE_CORE, weights.with_suffix(".log"), poll=POLL)
    views = json.loads((run / "run.json").read_text())["plan"]["views_per_step"] * steps
    shutil.copy(run / "backbone.safetensors", weights)
    told = {"step": steps, "views": views, "core_seconds": seen.core_seconds, "seconds": seen.seconds}
    atomic_write(weights.with_suffix(".json"), json.dumps(told))


def evaluated(contestant: Contestant, weights: Path, options: argparse.Namespace) -> dict[str, Any]:
    """mAP of weights, by manyview's linear evaluation; in percent, with its interval.

    Beside the first weights of a start its random init is evaluated, and kept. A run of manyview's says how it began;
    lightly's weights do not, so they go without.
    """
    kept = start_file(contestant.start, options)
    out = weights.parent / f"{weights.stem}-linear"
    if not (out / "metrics.json").is_file():
        linear_evaluation(
            weights,
            images=options.images,
            train_labels=options.train,
            val_labels=options.val,
            out=out,
            pool="avg",
            size=options.eval_size,
            beside="none" if contestant.is_peer or kept.is_file() else "random",
            backbone="resnet18",
            resume=(out / "unfinished").exists(),
        )
    results = json.loads((out / "metrics.json").read_text())["results"]
    if RANDOM_INIT in results and not contestant.is_peer:
        atomic_write(kept, json.dumps(with_interval(results[RANDOM_INIT])))
    return {PRETRAINED: with_interval(results[PRETRAINED])}


def start_file(start: str, options: argparse.Namespace) -> Path:
    return Path(options.out) / f"{start.replace(',', '').replace(' ', '-')}.json"


def starts(options: argparse.Namespace) -> dict[str, list[float]]:
    """mAP of each random init that has been measured."""
    files = {each.start: start_file(each.start, options) for each in CONTESTANTS}
    return {start: json.loads(file.read_text()) for start, file in files.items() if file.is_file()}


def with_interval(result: Mapping[str, Any]) -> list[float]:
    """mAP in percent and the ends of its interval."""
    return [100 * each for each in (result["mAP"], *result["intervals"]["mAP"])]


def place(contestant: Contestant, options: argparse.Namespace) -> Path:
    """Folder of a contestant."""
    folder: Path = options.out / contestant.name.replace(" ", "-").replace(",", "")
    return folder


def points(contestant: Contestant, options: argparse.Namespace) -> list[dict[str, Any]]:
    """What has been measured of a contestant, by core time."""
    files = place(contestant, options).glob("*.point.json")
    return sorted((json.loads(file.read_text()) for file in files), key=lambda each: each["core_seconds"])


def report(made: Mapping[str, Sequence[Mapping[str, Any]]], options: argparse.Namespace) -> None:
    """JSON, table and picture of all points."""
    result = {**origin("peers.hours", options.given), "starts": starts(options), "points": made}
    result["reached"] = reached(made)
    result["contestants"] = {each.name: {"how": each.how, "options": each.words} for each in CONTESTANTS}
    write_json(options.out / "hours.json", result)
    draw(result, options.out / "hours.png")
    text = markdown(result)
    if options.page:
        put_between_markers(options.page, "hours", text)
        shutil.copy(options.out / "hours.png", options.page.parent / "hours-to-quality.png")
    print(text)


def reached(made: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, Any]:
    """The best of the peers' points, and each recipe's first point that is at least as good; empty without peers."""
    peers = {each.name for each in CONTESTANTS if each.is_peer}
    theirs = [(point, name) for name, found in made.items() if name in peers for point in found]
    if not theirs:
        return {}
    best, name = max(theirs, key=lambda pair: pair[0][PRETRAINED][0])
    first = {
        who: next((each["core_seconds"] for each in found if each[PRETRAINED][0] >= best[PRETRAINED][0]), None)
        for who, found in made.items()
        if who not in peers
    }
    return {
        "best": {"of": name, "mAP": best[PRETRAINED][0], "core_seconds": best["core_seconds"]},
        "core_seconds": first,
        "share": {who: seconds and seconds / best["core_seconds"] for who, seconds in first.items()},
    }


def markdown(result: Mapping[str, Any]) -> str:
    """A row for each point, and what was reached when."""
    rows = [
        [
            f"{name}" if not index else "",
            f"{each['views']:,}",
            f"{each['core_seconds'] / 60:.1f}",
            "{:.1f} ({:.1f} to {:.1f})".format(*each[PRETRAINED]),
        ]
        for name, found in result["points"].items()
        for index, each in enumerate(found)
    ]
    begun = [[in_words(start), "0", "0", f"{figures[0]:.1f}"] for start, figures in result["starts"].items()]
    text = table(["", "views seen", "core minutes", "mAP, % (95 % interval)"], begun + rows)
    if not result["reached"]:
        return text
    best, shares = result["reached"]["best"], result["reached"]["share"]
    ends = [
        f"{who} is there after {share:.2f} of that time" if share is not None else f"{who} does not get there"
        for who, share in shares.items()
    ]
    after = (
        f"The best of lightly's, {best['of']}, has {best['mAP']:.1f} after {best['core_seconds'] / 60:.0f} core minutes"
    )
    return f"{text}\n\n{'; '.join([after, *ends])}."


def in_words(start: str) -> str:
    return start.replace("_", " ")


def draw(result: Mapping[str, Any], file: Path) -> None:
    """mAP with its interval over core minutes."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.5, 3.8), layout="constrained")
    axes, peers = figure.subplots(), {each.name for each in CONTESTANTS if each.is_peer}
    for name, found in result["points"].items():
        at = [each["core_seconds"] / 60 for each in found]
        middle, low, high = zip(*(each[PRETRAINED] for each in found), strict=True)
        line = axes.plot(at, middle, "s--" if name in peers else "o-", markersize=4, label=name)[0]
        axes.fill_between(at, low, high, color=line.get_color(), alpha=0.12, linewidth=0)
    for (start, figures), style in zip(result["starts"].items(), (":", "-."), strict=False):
        axes.axhline(figures[0], color="gray", linestyle=style, linewidth=1, label=in_words(start))
    axes.set(xscale="log", xlabel="core minutes of pre-training, starting included", ylabel="mAP, %")
    ticks = (1.25, 2.5, *MARKS)
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.xaxis.set_minor_formatter("")
    axes.set_xlim(ticks[0], MARKS[-1] * 1.2)
    axes.grid(alpha=0.3)
    figure.legend(loc="outside right upper", frameon=False)
    figure.savefig(file, dpi=120)


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = command_line(__doc__)
    add_labeled_images(parser)
    parser.add_argument("--out", type=Path, default=Path("build/benchmarks/hours"))
    parser.add_argument("--marks", type=float, nargs="+", default=list(MARKS), help="core minutes of lightly's points")
    parser.add_argument("--only", nargs="*", choices=[each.name for each in CONTESTANTS], help="none: only the report")
    parser.add_argument("--view-size", type=int, default=64)
    parser.add_argument("--eval-size", type=int, default=128)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--peer-options", default="", metavar="WORDS", help="more options of lightly's loops")
    parser.add_argument("--own-options", default="", metavar="WORDS", help="more options of manyview pretrain")
    parser.add_argument("--page", type=Path, help="document whose table is replaced; the picture is put beside it")
    options = parsed(parser, arguments)
    options.marks.sort()
    options.only = [each.name for each in CONTESTANTS] if options.only is None else options.only
    return options


if __name__ == "__main__":
    main()
