"""``manyview check-weights``."""

from __future__ import annotations

from pathlib import Path
from typing import Unpack

from manyview.cli.parts.command import command
from manyview.options.shared import Weights
from manyview.options.unlabeled import CheckedViews, CheckWeightsOptions, SampleOptions


@command(Weights, SampleOptions, CheckedViews, CheckWeightsOptions)
def check_weights(weights: Path, recipe: str | None, **options: Unpack[CheckWeightsOptions]) -> None:
    """Check weights without labels, and report in one sentence whether they are healthy or collapsed.

    Example: manyview check-weights runs/a --images photos --out runs/a-check
    """
    from manyview.cli.parts.progress import phases
    from manyview.evaluation.health.check import check_weights as check
    from manyview.evaluation.tables import format_check
    from manyview.recipes import resolve_settings
    from manyview.terminal import SafeConsole

    views = None if recipe is None else resolve_settings(options["images"], recipe=recipe).views
    console = SafeConsole()
    with phases() as progress:
        result = check(weights, **options, views=views, progress=progress)
    console.print(format_check(result))
    if options["out"] is not None:
        console.print(f"Written to {Path(options['out']) / 'metrics.json'}", highlight=False, markup=False)
