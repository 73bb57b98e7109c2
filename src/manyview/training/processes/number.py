"""The number of processes of a run, which may change when it is resumed: batches, rate and views are the same."""

from __future__ import annotations

from collections import Counter

from torch import nn

from manyview.config import PretrainConfig
from manyview.errors import UserError
from manyview.runs import RunFolder

# Layers that draw numbers in training, with the attribute that holds their probability.
_RANDOM = {"DropPath": "drop_prob", "StochasticDepth": "p", "FeatureAlphaDropout": "p"}


def stored_sizes(config: PretrainConfig, folder: RunFolder) -> PretrainConfig:
    """The configuration of a resumed run with the batch sizes that it was started with.

    Those may have been fitted to another number of processes.

    Args:
        config: configuration as given by the user.
        folder: of the run, whose ``config.json`` holds the settled sizes.
    """
    training = folder.read_json("config.json").get("training", {})
    sizes = {name: training[name] for name in ("batch_size", "accumulate") if isinstance(training.get(name), int)}
    return config.model_copy(update={"training": config.training.model_copy(update=sizes)})


def check_divides(config: PretrainConfig, folder: RunFolder, processes: int) -> None:
    """Check that the processes can share the batches of a resumed run.

    Raises:
        UserError: they cannot; the message says which numbers can.
    """
    batch = config.training.batch_size
    if batch % processes:
        fitting = [str(number) for number in range(1, min(batch, 64) + 1) if batch % number == 0]
        raise UserError(
            f"{folder.path} was started with batches of {batch:,} images, which {processes} processes cannot share "
            f"equally: resume it on {', '.join(fitting)} of them"
        )


def remarks_on_number(method: nn.Module, before: int | None, now: int) -> list[str]:
    """What the number of processes changes, in sentences.

    Args:
        method: the method.
        before: number of processes that the run was started on; None for a new run.
        now: number of processes.
    """
    found = []
    if before not in (None, now):
        found.append(
            f"The run was started on {_processes(before)} and goes on on {_processes(now)}: batches, views, rate and "
            "losses are the same."
        )
    layers = random_layers(method)
    if layers and (before or now, now) != (1, 1):
        names = ", ".join(f"{count} {name}" for name, count in sorted(layers.items()))
        found.append(f"Layers that draw random numbers ({names}) draw others on another number of processes.")
    return found


def random_layers(network: nn.Module) -> Counter[str]:
    """How many layers of each class draw random numbers in training."""
    found: Counter[str] = Counter()
    for module in network.modules():
        name = type(module).__name__
        attribute = "p" if isinstance(module, nn.modules.dropout._DropoutNd) else _RANDOM.get(name)
        if attribute is not None and getattr(module, attribute, False):
            found[name] += 1
    return found


def _processes(count: int | None) -> str:
    return f"{count} {'process' if count == 1 else 'processes'}"
