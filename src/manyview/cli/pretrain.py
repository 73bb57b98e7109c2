"""``manyview pretrain``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def pretrain(
    photos: Annotated[
        Path | None, typer.Argument(help="Folder of photographs, searched recursively.", show_default=False)
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for the run; new, unless --resume.")] = None,
    list_: Annotated[
        Path | None, typer.Option("--list", help="Text or CSV file that names the photographs to use.")
    ] = None,
    recipe: Annotated[
        str | None,
        typer.Option(help="paper (default), paper-160, released, simsiam or simsiam-4pairs.", show_default=False),
    ] = None,
    backbone: Annotated[str | None, typer.Option(help="A torchvision ResNet or any timm model.")] = None,
    init: Annotated[
        Path | None, typer.Option(help="Weights to start from: a run's folder or any checkpoint.", show_default=False)
    ] = None,
    epochs: Annotated[int | None, typer.Option(help="Passes over the photographs.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Photographs a step.")] = None,
    view_size: Annotated[int | None, typer.Option(help="Side of a view in pixels.")] = None,
    seed: Annotated[int | None, typer.Option(help="Everything random follows from it.")] = None,
    config: Annotated[Path | None, typer.Option(help="TOML or JSON file with settings.")] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="One setting; may be given several times.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue the run in --out.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors.")] = False,
) -> None:
    """Pre-train a backbone on a folder of unlabelled photographs.

    Example: manyview pretrain photos --out runs/a --backbone resnet18 --epochs 100 --set losses.image_aware.weight=17

    To go on from other weights: manyview pretrain photos --out runs/b --init moco_v2.pth --epochs 50
    """
    from manyview.errors import UserError
    from manyview.recipes import pretrain as run_pretraining

    if photos is None and config is None and not resume:
        raise UserError(
            "PHOTOS is missing: name the folder of photographs, as in: manyview pretrain photos --out runs/a"
        )
    if out is None:
        raise UserError("--out is missing: name a new folder for the run, as in: manyview pretrain photos --out runs/a")
    run_pretraining(
        photos,
        out,
        recipe=recipe,
        list=list_,
        backbone=backbone,
        init=init,
        epochs=epochs,
        batch_size=batch_size,
        view_size=view_size,
        seed=seed,
        config=config,
        set=set_ or (),
        resume=resume,
        quiet=quiet,
    )
