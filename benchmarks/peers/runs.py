"""Whole training runs at equal settings beside other libraries': photographs a second, the first step, memory.

    python -m benchmarks.peers.runs [--photos DIR] [--page docs/performance.md]

Each run is a process of its own that pre-trains a ResNet-18 on the CPU as its library's documentation shows: with all
cores, a loader process for each of them, float32, SGD, and the same images, batch and number of views. It is watched
from outside. The rate is that between two logged steps, so that starting does not count; ratios are of one round, in
which the runs follow each other. SimSiam is compared with SimSiam and SimCLR with SimCLR, with equal heads where a
library lets one choose them.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.arguments import command_line, parsed
from benchmarks.images import describe, jpegs, write_jpegs
from benchmarks.peers.watch import Watched, watch
from benchmarks.records import cores, origin, put_between_markers, spread, table, write_json

SIZE = (640, 480)
SIMCLR_DIM = 128
DIMS = {"hidden": 512, "out": 512, "bottleneck": 128}
STRIDE = 10  # steps after which all of them log; the first of these starts the clock
GAINS = {"images_per_second": "photographs a second", "images_per_core_second": "photographs a core second"}
LIGHTLY = "lightly"


@dataclass(frozen=True)
class Setting:
    """What the runs of a group have in common.

    Attributes:
        view_size: in pixels.
        pairs: of views of an image.
        batch: images a step.
    """

    method: str
    view_size: int
    pairs: int
    batch: int

    @property
    def name(self) -> str:
        names = {"simsiam": "SimSiam", "simclr": "SimCLR"}
        return f"{names[self.method]}, {2 * self.pairs} views of {self.view_size}, {self.batch} images a step"


SETTINGS = (
    Setting("simsiam", 64, 1, 64),
    Setting("simsiam", 64, 4, 16),
    Setting("simsiam", 224, 1, 8),
    Setting("simsiam", 224, 4, 2),
    Setting("simclr", 64, 1, 64),
    Setting("simclr", 224, 1, 8),
)


@dataclass(frozen=True)
class Contestant:
    """A library's run.

    Attributes:
        how: what it is, in a few words.
        command: function from a setting, the images, an empty folder, the number of steps and that of the cores.
        metrics: its log within the folder.
        first: number of the first step in the log.
        can: function that says if it can do a setting.
        needs: the package that it requires, if any.
    """

    name: str
    how: str
    command: Callable[[Setting, Path, Path, int, int], list[str]]
    metrics: str = "metrics.jsonl"
    first: int = 1
    can: Callable[[Setting], bool] = lambda setting: True
    needs: str | None = None


def manyview(*words: str) -> Callable[[Setting, Path, Path, int, int], list[str]]:
    """The command itself; ``words`` are added to the recipe of the setting's method."""

    def command(setting: Setting, images: Path, out: Path, steps: int, cores: int) -> list[str]:
        recipe = words or ("--recipe", setting.method, "--set", f"views.pairs={setting.pairs}")
        dims = {"projection_dim": DIMS["out"], "prediction_hidden_dim": DIMS["bottleneck"]}
        heads = dims if setting.method == "simsiam" else {"dim": SIMCLR_DIM}
        sets = [f"method.{key}={value}" for key, value in heads.items()]
        sets += ["training.device=cpu", "training.precision=float32", "training.optimizer=sgd", f"data.workers={cores}"]
        return [
            *(sys.executable, "-m", "manyview", "pretrain", str(images), "--out", str(out), "--steps", str(steps)),
            *("--backbone", "resnet18", "--batch-size", str(setting.batch), "--view-size", str(setting.view_size)),
            *recipe,
            *(word for each in [*sets, "monitor.on_collapse=warn"] for word in ("--set", each)),
        ]

    return command


def loop(transform: str) -> Callable[[Setting, Path, Path, int, int], list[str]]:
    """The loop of lightly's documentation with the transform of lightly or torchvision."""

    def command(setting: Setting, images: Path, out: Path, steps: int, cores: int) -> list[str]:
        dims = DIMS if setting.method == "simsiam" else {**DIMS, "out": SIMCLR_DIM}
        return [
            *(sys.executable, "-m", "benchmarks.peers.loop", setting.method, "--images", str(images)),
            *("--out", str(out), "--transform", transform, "--view-size", str(setting.view_size)),
            *("--pairs", str(setting.pairs), "--batch-size", str(setting.batch), "--workers", str(cores)),
            *("--steps", str(steps), "--momentum", "0.9", "--dims", *map(str, dims.values())),
        ]

    return command


def lightly_train(setting: Setting, images: Path, out: Path, steps: int, cores: int) -> list[str]:
    """lightly-train's command."""
    return [
        *(str(Path(sys.executable).with_name("lightly-train")), "pretrain", f"out={out}", f"data={images}"),
        *("model=torchvision/resnet18", f"method={setting.method}", f"epochs={steps}", f"batch_size={setting.batch}"),
        *(f"num_workers={cores}", "accelerator=cpu", "precision=32-true", "overwrite=True"),
        f"transform_args={{image_size: [{setting.view_size}, {setting.view_size}]}}",
        f"trainer_args={{max_steps: {steps}, log_every_n_steps: 1}}",
    ]


CONTESTANTS = (
    Contestant("manyview", "`manyview pretrain`, the recipe of the method's name", manyview()),
    Contestant(
        "manyview, blocks and image-aware loss",
        "`--recipe paper`: the views of four blocks, both losses",
        manyview("--recipe", "paper"),
        can=lambda setting: setting.method == "simsiam" and setting.pairs == 4,
    ),
    Contestant(LIGHTLY, "the loop of its documentation, its transform", loop("lightly"), needs="lightly"),
    Contestant(
        "lightly on torchvision v2",
        "the same loop on uint8 tensors, with torchvision's second transforms",
        loop("torchvision"),
        can=lambda setting: setting.method == "simsiam",
        needs="lightly",
    ),
    Contestant(
        "lightly-train",
        "`lightly-train pretrain`, its SimCLR: heads and learning rate are its own",
        lightly_train,
        first=0,
        can=lambda setting: setting.method == "simclr" and setting.pairs == 1,
        needs="lightly_train",
    ),
)


def main(arguments: Sequence[str] | None = None) -> None:
    options = parse(arguments)
    rounds: list[dict[str, dict[str, Any]]] = []
    with tempfile.TemporaryDirectory() as folder:
        images = write_jpegs(Path(folder) / "images", jpegs(options.photos, SIZE, options.count, enlarge=True))
        for number in range(options.rounds):
            rounds.append({})
            for setting in options.settings:
                rounds[-1][setting.name] = one_round(setting, number, images, Path(folder), options)
                write_json(options.out, result(rounds, options))
    text = markdown(result(rounds, options))
    if options.page:
        put_between_markers(options.page, "training", text)
    print(text)


def one_round(setting: Setting, number: int, images: Path, folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """One run of each contestant, in turns forwards and backwards."""
    found = {}
    for each in contestants(setting, options)[:: -1 if number % 2 else 1]:
        with tempfile.TemporaryDirectory(dir=folder) as place:
            out = Path(place) / "run"
            words = each.command(setting, images, out, options.steps, cores())
            seen = watch(words, out / each.metrics, {}, Path(place) / "printed.log", memory=True)
        found[each.name] = figures(seen, each.first, setting.batch, options.steps)
        print(f"{setting.name}: {each.name}: {json.dumps(found[each.name])}", file=sys.stderr, flush=True)
    return found


def contestants(setting: Setting, options: argparse.Namespace) -> list[Contestant]:
    """Those that are installed and can do a setting."""
    installed = [each for each in CONTESTANTS if each.needs is None or importlib.util.find_spec(each.needs)]
    return [each for each in installed if each.can(setting) and (not options.only or each.name in options.only)]


def figures(seen: Watched, first: int, batch: int, steps: int) -> dict[str, float]:
    """Rates from one step to another, both logged, and the seconds until the first step was."""
    last = steps // STRIDE * STRIDE
    begin, end = (seen.steps[step - 1 + first] for step in (STRIDE, last))
    images = batch * (last - STRIDE)
    return {
        "images_per_second": images / (end[0] - begin[0]),
        "images_per_core_second": images / (end[1] - begin[1]),
        "seconds_to_first_step": seen.steps[first][0],
        "peak_mib": seen.peak_bytes / 2**20,
    }


def result(rounds: Iterable[dict[str, dict[str, Any]]], options: argparse.Namespace) -> dict[str, Any]:
    """All that was measured, and each figure relative to lightly's of the same round."""
    settings: dict[str, Any] = {}
    for each in rounds:
        for name, found in each.items():
            for who, figures in found.items():
                settings.setdefault(name, {}).setdefault(who, []).append({**figures, "ratios": ratios(found, who)})
    return {
        **origin("peers.runs", options.given),
        "photographs": f"{options.count} {describe(options.photos)}, JPEG of {SIZE[0]} x {SIZE[1]}",
        "load": os.getloadavg()[0],
        "contestants": {each.name: each.how for each in CONTESTANTS},
        "settings": settings,
    }


def ratios(found: dict[str, dict[str, float]], who: str) -> dict[str, float]:
    """Figures of a contestant relative to lightly's."""
    return {key: found[who][key] / found[LIGHTLY][key] for key in found[who]} if LIGHTLY in found else {}


def markdown(result: dict[str, Any]) -> str:
    """A table of every setting's contestants."""
    rows = []
    for setting, found in result["settings"].items():
        for index, (who, rounds) in enumerate(found.items()):
            cells = [in_words([each["ratios"][key] for each in rounds if each["ratios"]]) for key in GAINS]
            start = [each["ratios"]["seconds_to_first_step"] for each in rounds if each["ratios"]]
            rows.append(
                [
                    "" if index else setting,
                    who,
                    *cells,
                    f"{spread(start)['median']:.2f}" if start else "",
                    f"{spread([each['peak_mib'] for each in rounds])['median']:,.0f}",
                ]
            )
    head = ["setting", "run", *GAINS.values(), "seconds to the first step", "peak memory, MiB"]
    about = (
        f"ResNet-18, float32, {result['machine']['cores']} cores, as many loader processes; {result['photographs']}. "
        "Relative to lightly's own run of the same round; of several rounds the median, lowest and highest. The "
        f"machine had a load of {result['load']:.0f} at the end."
    )
    how = "\n".join(f"- {name}: {text}." for name, text in result["contestants"].items())
    return f"{about}\n\n{table(head, rows, text_columns=2)}\n\n{how}"


def in_words(values: Sequence[float]) -> str:
    """Ratios of the rounds: the only one, or the median with the lowest and highest."""
    if len(values) < 2:
        return "".join(f"{value:.2f}" for value in values)
    return "{median:.2f} ({lowest:.2f} to {highest:.2f})".format(**spread(values))


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = command_line(__doc__)
    parser.add_argument("--photos", type=Path, help="folder of images; unset: synthetic scenes")
    parser.add_argument("--count", type=int, default=512, help="images")
    parser.add_argument("--steps", type=int, default=30, help="of each run; the rate is that after the tenth")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--methods", nargs="+", choices=["simsiam", "simclr"], default=["simsiam", "simclr"])
    parser.add_argument("--view-sizes", type=int, nargs="+", default=[64, 224])
    parser.add_argument("--only", nargs="+", choices=[each.name for each in CONTESTANTS])
    parser.add_argument("--out", type=Path, default=Path("build/benchmarks/training.json"))
    parser.add_argument("--page", type=Path, help="document whose table is replaced")
    options = parsed(parser, arguments)
    if options.steps < 2 * STRIDE:
        parser.error(f"--steps must be at least {2 * STRIDE}: the rate is that after the first {STRIDE}")
    options.settings = [s for s in SETTINGS if s.method in options.methods and s.view_size in options.view_sizes]
    return options


if __name__ == "__main__":
    main()
