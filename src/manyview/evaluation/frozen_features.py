"""Features that are extracted once, of the photographs to learn from and of those to measure on."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float64
from torch import Tensor, nn

from manyview.evaluation.data import Data, LabelledPhotographs
from manyview.evaluation.features.extract import combine, extract
from manyview.evaluation.settings import FeatureSettings
from manyview.runs.progress import Progress


@dataclass(frozen=True, slots=True, eq=False)
class Features:
    """Pooled features of the training and the validation photographs, in the order of their labels."""

    train: Float64[Tensor, "images dim"]
    val: Float64[Tensor, "others dim"]


def extract_both(network: nn.Module, data: Data, settings: FeatureSettings, name: str, progress: Progress) -> Features:
    """Features of both parts, in main memory and float64, in which what follows computes."""

    def of(part: LabelledPhotographs, phase: str) -> Float64[Tensor, "images dim"]:
        pooled = extract(
            network,
            part.folder,
            part.labels.names,
            settings.size,
            device=settings.device,
            precision=settings.precision,
            workers=settings.workers,
            crop=settings.crop,
            progress=progress,
            phase=f"{name}: {phase} features",
        )
        return combine(pooled, settings.pool).double()

    return Features(of(data.train, "training"), of(data.val, "validation"))
