"""The one interface of all loggers, and what keeps a run going where one of them fails."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

from manyview.config import PretrainConfig
from manyview.config.resolve import flatten
from manyview.errors import UserError, one_line
from manyview.parsing import parse_json
from manyview.runs import atomic_write
from manyview.runs.folder import LOGGERS_FILE

TENSORBOARD = "tensorboard"
_NO_FIGURES = frozenset({"step", "epoch", "elapsed"})

Say = Callable[[str], None]


@dataclass(frozen=True)
class RunFacts:
    """What loggers are given of a run.

    Attributes:
        folder: the run's folder.
        settings: the run's settings by dotted name, plain data.
        step: optimizer steps done before; figures beyond it, of a process that was killed, are made anew.
        ids: ids that earlier processes of the run were given, by logger.
    """

    folder: Path
    settings: Mapping[str, Any]
    step: int = 0
    ids: Mapping[str, str] = field(default_factory=dict)


class Logger(Protocol):
    """A run at one tool. Whatever it raises ends this logger, with a warning, and never the run."""

    id: str
    """By which a later process goes on with it; "" if that takes none."""

    def add(self, step: int, figures: Mapping[str, float]) -> None:
        """Add figures by name, such as "step/loss", after an optimizer step."""

    def close(self, ended: bool) -> None:
        """Send what is left, and close; ``ended``: the run is done, or else was stopped or failed."""


class Loggers:
    """The loggers of a run, as a context manager that closes them.

    TensorBoard's curves are written wherever it is installed; all others are asked for by name (``monitor.loggers``).
    ``metrics.jsonl`` holds the same figures in any case.

    Args:
        names: of ``monitor.loggers``.
        facts: of the run.
        say: prints a warning.
        enabled: False on all processes but the first.
    """

    def __init__(self, names: Sequence[str], facts: RunFacts, say: Say, *, enabled: bool = True) -> None:
        self._names = dict.fromkeys([*([TENSORBOARD] if is_installed(TENSORBOARD) else []), *names]) if enabled else {}
        self._facts, self._say = facts, say
        self._open: dict[str, Logger] = {}

    def __enter__(self) -> Loggers:
        from manyview.training.loggers.packages import OPENED_BY

        ids = _read_ids(self._facts.folder)
        facts = replace(self._facts, ids=ids)
        for name in self._names:
            self._try(name, partial(self._begin, name, OPENED_BY[name], facts))
        known = ids | {name: logger.id for name, logger in self._open.items() if logger.id}
        if known != ids:
            atomic_write(self._facts.folder / LOGGERS_FILE, json.dumps(known, indent=2) + "\n")
        return self

    def __exit__(
        self, error_type: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for name, logger in list(self._open.items()):
            self._try(name, partial(logger.close, error_type is None))
        self._open.clear()

    def add(self, record: Mapping[str, Any]) -> None:
        """Add the numbers of a record of ``metrics.jsonl``, prefixed with its kind."""
        figures = {
            f"{record['kind']}/{name}": float(value)
            for name, value in record.items()
            if isinstance(value, int | float) and name not in _NO_FIGURES
        }
        for name, logger in list(self._open.items()):
            self._try(name, partial(logger.add, record["step"], figures))

    def _begin(self, name: str, opened_by: Callable[[RunFacts], Logger], facts: RunFacts) -> None:
        self._open[name] = opened_by(facts)

    def _try(self, name: str, act: Callable[[], Any]) -> None:
        """Act, or warn once and go on without that logger."""
        try:
            act()
        except Exception as error:  # of other people's packages, and of the network
            self._open.pop(name, None)
            reason = one_line(str(error)) or type(error).__name__
            self._say(f"Warning: {name} logs no more of this run ({reason}); metrics.jsonl has all of it.")


def loggers_of(config: PretrainConfig, folder: Path, step: int, say: Say, *, enabled: bool) -> Loggers:
    """The loggers that a run's configuration asks for, and TensorBoard's; they open as the context is entered."""
    settings = {each.key: each.value for each in flatten(config.model_dump(mode="json"), "")}
    facts = RunFacts(folder, settings, step)
    return Loggers(config.monitor.loggers, facts, say, enabled=enabled)


def check_installed(names: Sequence[str]) -> None:
    """Refuse loggers whose package is missing, before anything is done.

    Raises:
        UserError: which, and how to install it.
    """
    for name in names:
        if not is_installed(name):
            raise UserError(
                f"monitor.loggers names {name}, which is not installed: pip install 'manyview[{name}]', or leave it out"
            )


def is_installed(name: str) -> bool:
    """Whether a logger's package, which has its name, is installed; a mere folder of that name is none."""
    found = importlib.util.find_spec(name)
    return found is not None and found.origin is not None


def _read_ids(folder: Path) -> dict[str, str]:
    """Ids by logger; those that cannot be read are lost, and new ones are made."""
    try:
        content = parse_json((folder / LOGGERS_FILE).read_bytes())
    except (OSError, ValueError):
        return {}
    return {str(name): str(value) for name, value in content.items()} if isinstance(content, dict) else {}
