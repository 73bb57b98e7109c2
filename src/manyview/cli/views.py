"""``manyview views``."""

from __future__ import annotations

from pathlib import Path
from typing import Unpack

from manyview.cli.parts.command import command
from manyview.options.pretrain import ViewsOptions


@command(ViewsOptions)
def views(**options: Unpack[ViewsOptions]) -> None:
    """Draw exactly the views of a run, next to a pair of usual random crops.

    With --labels it also counts, over all images of the labels, how often the two views of a positive pair show
    a common object, for usual crops, for blocks at several overlaps and for their controls: as a table, as
    metrics.json and as a curve next to --out.

    Example: manyview views photos --out views.html --photos 4 --labels instances.json
    """
    from manyview.cli.parts.viewing import Counting, Drawing, run_views
    from manyview.errors import UserError
    from manyview.options.base import among
    from manyview.options.pretrain import SettingsOptions
    from manyview.recipes import resolve_settings
    from manyview.terminal import SafeConsole

    if options["images"] is None and options["config"] is None:
        raise UserError("PHOTOS is missing: name the folder of images, as in: manyview views photos --out views.png")
    if options["out"] is None:
        raise UserError("--out is missing: name the picture to write, as in: manyview views photos --out views.png")
    resolved = resolve_settings(options["images"], **among(SettingsOptions, options))
    drawing = Drawing(Path(options["out"]), options["drawn"], tuple(options["only"]), options["epoch"])
    labels = tuple(map(Path, options["labels"]))
    counting = Counting(labels, options["share"], options["count_epochs"]) if labels else None
    run_views(resolved, drawing, counting, SafeConsole())
