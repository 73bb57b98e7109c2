"""Protocol of the logistic regressions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from manyview.evaluation.logistic.choice import FAR_HIGHEST, FAR_LOWEST, FOLDS, HIGHEST, LOWEST, THIRDS

# Words of earlier protocols.
LOGISTIC_REGRESSION = "logistic regression, L2-regularised, by L-BFGS to convergence"
_SEARCH = (
    f"decades from 1e{LOWEST} to 1e{HIGHEST} (to 1e{FAR_LOWEST} and 1e{FAR_HIGHEST} while the best is at an edge), "
    f"then {len(THIRDS)} thirds of a decade around the best"
)


def describe_choice(costs: Sequence[float], by_class: bool, images: str) -> dict[str, Any]:
    """Protocol of the choice of C.

    Args:
        costs: the values to choose from; none for the search over all.
        by_class: whether each class gets its own.
        images: those on which it is chosen.

    Returns:
        "cost_chosen", in words; and "cost_by_class" where there is a choice.
    """
    if len(costs) == 1:
        return {"cost_chosen": "given"}
    whose = "by class, of the best average precision" if by_class else "one for all classes, of the best mAP"
    among = "" if costs else f", among {_SEARCH}"
    return {
        "cost_chosen": f"{whose} in {FOLDS}-fold cross-validation on {images}{among}",
        "cost_by_class": by_class,
    }
