"""Options that verbs of several areas share."""

# The types are read when the program runs: no annotation here may be put off by ``from __future__``.
from typing import Annotated, Required, TypedDict

from manyview.options.base import REQUIRED, Option, StrPath


class Weights(TypedDict, total=False):
    """What a command evaluates, embeds or exports."""

    weights: Required[
        Annotated[
            StrPath, Option(REQUIRED, "A run's folder or a checkpoint file, other people's too.", argument="weights")
        ]
    ]


Pool = Annotated[
    str,
    Option(
        "gamp",
        "gamp, avg, max, avg_minus_max or cat.",
        '"gamp" (the mean of global average and maximum pooling), "avg", "max", "avg_minus_max" or "cat".',
    ),
]
Size = Annotated[int, Option(224, "Side of the inputs in pixels.", "S, the side of the inputs in pixels, at least 8.")]
Result = Annotated[
    StrPath | None, Option(None, "Folder for metrics.json.", "folder for metrics.json; unset: nothing is written.")
]
Architecture = Annotated[str | None, Option(None, "Architecture, where the weights do not say it themselves.")]


class ComputingOptions(TypedDict, total=False):
    """Where and how a backbone computes."""

    workers: Annotated[
        int | None,
        Option(
            None, "Loader processes; unset: by cores.", "loader processes; unset: by cores. No result depends on it."
        ),
    ]
    device: Annotated[
        str,
        Option(
            "auto",
            "auto, cpu, cuda or mps.",
            '"auto" (CUDA, Metal or CPU, the first there is), "cpu", "cuda", "cuda:1" or "mps".',
        ),
    ]
    precision: Annotated[
        str,
        Option(
            "auto",
            "Of the network: auto, float32 or bf16.",
            'of the backbone: "float32" (which "auto" means) or "bf16", slow on CPUs without instructions for it.',
        ),
    ]
