"""Baselines beside evaluated weights: random init, the weights a run began with, or any others."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from manyview.backbones.base import Backbone
from manyview.backbones.build import describe_untrained, untrained
from manyview.backbones.checkpoint import find_weights
from manyview.backbones.weights import OtherChannelsError, OtherNetworkError, load_backbone, record_of
from manyview.errors import UserError, require
from manyview.runs import RunFolder, run_at, sha256

StrPath = str | os.PathLike[str]

RANDOM, INITIAL, NONE = "random", "initial", "none"
"""Baselines by word; any other word is a path, and one's own file of such a name is given by its full path."""

PRETRAINED, RANDOM_INIT = "pretrained", "random_init"
"""Names in results of the evaluated weights and of random init; initial weights are "initial"."""

_WORDS = {PRETRAINED: "pre-trained", RANDOM_INIT: "random init", INITIAL: "the initial weights"}
_RUN_BEGAN = "where the run began"
_ASKED = "asked for"
_UNKNOWN = "as nothing says how these weights began"
_RESERVED = frozenset({PRETRAINED, RANDOM_INIT, RANDOM, INITIAL, NONE})


@dataclass(frozen=True, slots=True)
class Baseline:
    """What evaluated weights are compared with.

    Attributes:
        name: unique among the networks of an evaluation; fit for a file's name.
        weights: file or run folder; None for random init.
        why: the reason why it is shown, which follows its name in a sentence.
    """

    name: str
    weights: Path | None
    why: str

    def build(self, like: Backbone, seed: int) -> Backbone:
        """The network in eval mode.

        Args:
            like: the evaluated network. Random init is of its architecture, normalization and
                ``zero_init_residual``. Weights whose network is neither recorded nor recognized are of its
                architecture, weights for bands that do not record their normalization have its, and those that do
                not record the depth of 16-bit files read them as it does.
            seed: of random init.

        Raises:
            UserError: the weights cannot be used, or are for other images.
        """
        if self.weights is None:
            return untrained(like, seed)
        network = _load(self.weights, like)
        if (network.in_channels, network.rgb) != (like.in_channels, like.rgb):
            raise UserError(
                f"{self.weights} is for images of {_images(network)}, but the weights that it is shown beside are for "
                f"images of {_images(like)}: choose another --beside"
            )
        if network.bit_depth is None:
            network.bit_depth = like.bit_depth
        return network

    def describe(self, network: Backbone, seed: int) -> dict[str, Any]:
        """Plain data for a protocol: the network, and its file with checksum or its seed."""
        if self.weights is None:
            origin = {"weights": f"random: {describe_untrained(network)}", "seed": seed}
        else:
            file = find_weights(self.weights)
            origin = {"weights": str(file), "weights_sha256": sha256(file)}
        return {"why": self.why, "backbone": network.name, **origin}


def _load(weights: Path, like: Backbone) -> Backbone:
    """The network of a file or run folder, read for the images of another network where the file does not say more."""
    name, channels = like.name, None if like.rgb else like.in_channels
    try:
        network = load_backbone(weights, name, in_channels=channels)
    except OtherNetworkError:
        network = load_backbone(weights, in_channels=channels)
    except OtherChannelsError as error:
        network = load_backbone(weights, name, in_channels=error.found)
    if not like.rgb and network.in_channels == channels and record_of(weights).mean is None:
        network.take_images(like.mean, like.std, rgb=False)
    return network


def in_words(network: str) -> str:
    """A network of an evaluation in a sentence or a legend, by its name in results."""
    return _WORDS.get(network, network)


def find_baselines(weights: StrPath, asked: StrPath | Sequence[StrPath] | None) -> list[Baseline]:
    """Resolve the values of --beside.

    Args:
        weights: the evaluated weights, a run folder or a checkpoint; "random" for random init.
        asked: words and paths; "none" or none of them for no baseline; None for where the evaluated weights began: the
            initial weights of a run that had some, otherwise random init.

    Raises:
        UserError: a file does not exist, or the run's initial weights are unknown, gone or changed; a value is given
            twice, or with "none".
    """
    if asked is None:
        return _usual(weights)
    values = [os.fspath(value) for value in ([asked] if isinstance(asked, str | os.PathLike) else asked)]
    if values == [NONE]:
        return []
    require(NONE not in values, "--beside none leaves out all baselines: give it alone")
    twice = next((value for value in values if values.count(value) > 1), None)
    require(twice is None, f"--beside {twice} is given twice: give each once")
    names = _names([Path(value) for value in values if value not in (RANDOM, INITIAL)])
    known = {
        RANDOM: lambda: Baseline(RANDOM_INIT, None, _ASKED),
        INITIAL: lambda: Baseline(INITIAL, initial_weights(_run_of(weights)), _RUN_BEGAN),
    }
    return [known[value]() if value in known else _other(Path(value), names.pop(0)) for value in values]


def _usual(weights: StrPath) -> list[Baseline]:
    """The baseline where none is asked for: the starting point of the weights."""
    if os.fspath(weights) == RANDOM:
        return []
    run = run_at(Path(weights))
    if run is None:
        return [Baseline(RANDOM_INIT, None, _UNKNOWN)]
    if _recorded_init(run) is None:
        return [Baseline(RANDOM_INIT, None, _RUN_BEGAN)]
    return [Baseline(INITIAL, initial_weights(run), _RUN_BEGAN)]


def _run_of(weights: StrPath) -> RunFolder:
    run = run_at(Path(weights))
    if run is None:
        raise UserError(
            f"--beside initial: {os.fspath(weights)} is not of a run, whose folder would say which weights it began "
            "with; name them: --beside FILE"
        )
    return run


def _recorded_init(run: RunFolder) -> str | None:
    """The initial weights that the run's configuration names; None if it began from random ones."""
    init = run.read_json("config.json").get("backbone", {}).get("init")
    return None if init is None else str(init)


def initial_weights(run: RunFolder) -> Path:
    """The file of the run's initial weights with the checksum that the run recorded, or else the run's own copy.

    Raises:
        UserError: the run began from random weights, or its initial ones are unknown, gone or changed.
    """
    named = _recorded_init(run)
    if named is None:
        raise UserError(f"{run.path} began from random weights, so it has no initial ones: --beside random shows those")
    other = "; name another file (--beside FILE), --beside random, or --beside none"
    try:
        about = run.read_json("run.json").get("init", {})
    except UserError as error:
        raise UserError(f"{run.path} began from {named}, of which run.json has the checksum: {error}{other}") from error
    file = Path(about.get("file", named))
    if file.is_file() and sha256(file) == about.get("sha256"):
        return file
    if run.initial.is_file():
        return run.initial
    what = "has changed since" if file.is_file() else f"is gone (seen from {Path.cwd()})"
    raise UserError(f"{run.path} began from the weights in {file}, which {what}{other}")


def _other(path: Path, name: str) -> Baseline:
    if not path.exists():
        raise UserError(f"--beside {path}: there is no such file or folder; random, initial and none are the words")
    return Baseline(name, path, _ASKED)


def _names(paths: Sequence[Path]) -> list[str]:
    """Short distinct names of weights: the folder of a run, the file without ending, with parents where needed."""
    files = [find_weights(path).resolve() for path in paths]
    twice = next((file for file in files if files.count(file) > 1), None)
    require(twice is None, f"--beside: two of the files are the same ({twice}); give each once")
    parts = [_parts(path) for path in paths]
    # Files that differ in their endings alone, or are of one run, keep their whole names.
    parts = [path.resolve().parts[1:] if parts.count(own) > 1 else own for path, own in zip(paths, parts, strict=True)]
    lengths = [1] * len(parts)

    def name(index: int) -> str:
        return "-".join(parts[index][-lengths[index] :])

    while True:
        names = [name(index) for index in range(len(parts))]
        short = [
            index
            for index, own in enumerate(names)
            if (names.count(own) > 1 or own in _RESERVED) and lengths[index] < len(parts[index])
        ]
        if not short:
            return names
        for index in short:
            lengths[index] += 1


def _parts(path: Path) -> tuple[str, ...]:
    run = run_at(path)
    path = path.resolve()
    return ((path if path.is_dir() else path.parent) if run else path.with_suffix("")).parts[1:]


def _images(network: Backbone) -> str:
    return "RGB channels" if network.rgb else f"{network.in_channels} bands"
