"""Implementation of ``manyview demo``."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console

from manyview.config import PretrainConfig
from manyview.errors import UserError, first_few
from manyview.evaluation import format_table, linear_evaluation
from manyview.evaluation.resume import RESULT_FILE, discard
from manyview.images import UnreadableImage, decode_image, find_images
from manyview.recipes.launch import pretrain
from manyview.report import draw_views
from manyview.runs import RunFolder, atomic_write
from manyview.runs.files import is_temporary, make_folder
from manyview.runs.progress import Phases, no_phases
from manyview.scenes import write_scenes

_RECIPE = "recommended"
_EVALUATED_AT = 2  # side of an image in evaluation, in sides of a view: objects are then about as large as in views
_DRAWN = 4
_MARK = "demonstration.json"
_MEANING = {
    "synthetic": "These scenes are rendered to be learned in minutes: photographs gain less from so few views, and go "
    "on gaining for hours.",
    "own": "So short a run shows that everything works, not what the method can do, which takes many thousands of "
    "images and hours.",
}


@dataclass(frozen=True)
class Scale:
    """Size of a demonstration.

    Attributes:
        train: number of training images; of a larger folder, that many are picked.
        val: number of synthetic scenes for validation.
        view_size: side of a view in pixels.
        batch_size: images a step.
        epochs: passes over the images.
        seed: of the scenes, of training and of the untrained backbone.
        backbone: name of the backbone.
    """

    train: int
    val: int
    view_size: int
    batch_size: int
    epochs: int
    seed: int = 0
    backbone: str = "resnet18"


@dataclass(frozen=True)
class Material:
    """Images of a demonstration.

    Attributes:
        images: their folder.
        chosen: file that lists the training images.
        labels: label files for training and validation, if there are any.
    """

    images: Path
    chosen: Path
    labels: tuple[Path, Path] | None


def run_demo(photos: Path | None, out: Path, scale: Scale, console: Console, phases: Phases = no_phases) -> None:
    """Prepare the images, pre-train, draw views, evaluate.

    Raises:
        UserError: any problem that the user can fix.
    """
    out = out / _name(photos, scale.seed)
    _claim(out)
    material = synthetic_scenes(out, scale, console) if photos is None else own_images(photos, out, scale, console)
    folder = RunFolder(out / "run")
    run = pretrain(
        material.images,
        out / "run",
        list=material.chosen,
        recipe=_RECIPE,
        backbone=scale.backbone,
        view_size=scale.view_size,
        batch_size=scale.batch_size,
        epochs=scale.epochs,
        seed=scale.seed,
        resume=folder.holds_a_run,
        advise=False,
    )
    picture = out / "views.png"
    draw(run, material, picture)
    if material.labels is not None:
        evaluate(run, material.images, material.labels, out / "linear", scale, console, phases)
    else:
        console.print("There are no labels (train.csv and val.csv) in the folder, so the backbone is not evaluated.")
    console.print(_MEANING["synthetic" if photos is None else "own"], highlight=False)
    console.print(f"The views it was trained on: {picture}", highlight=False)
    console.print(f"The run, with its weights:   {run.path}", highlight=False)


def _claim(out: Path) -> None:
    """Make the demonstration's folder, or return to it; its mark is the first file in it.

    Raises:
        UserError: it holds files of others, or cannot be written.
    """
    make_folder(out)
    mark = out / _MARK
    if not (mark.is_file() or RunFolder(out / "run").holds_a_run):
        if strangers := sorted(path.name for path in out.iterdir() if not is_temporary(path.name)):
            raise UserError(f"{out} holds other files ({first_few(strangers)}): choose another --out")
        atomic_write(mark, "{}\n")


def _name(photos: Path | None, seed: int) -> str:
    """Name of a demonstration's folder; folders of the same name and different paths are different demonstrations."""
    seeded = f"-{seed}" if seed else ""
    if photos is None:
        return f"synthetic{seeded}"
    digest = hashlib.sha256(str(photos.resolve()).encode("utf-8", "surrogateescape")).hexdigest()[:6]
    return f"{photos.resolve().name}-{digest}{seeded}"


def synthetic_scenes(out: Path, scale: Scale, console: Console) -> Material:
    """Render synthetic scenes; existing files are written again with the same content."""
    scenes = out / "scenes"
    count = scale.train + scale.val
    console.print(
        f"Rendering {count:,} synthetic scenes (no real images) with objects of ten categories ...", highlight=False
    )
    write_scenes(scenes, count, seed=scale.seed, val_share=scale.val / count)
    return Material(scenes / "images", scenes / "train.csv", (scenes / "train.csv", scenes / "val.csv"))


def own_images(photos: Path, out: Path, scale: Scale, console: Console) -> Material:
    """The user's folder, with labels if it holds ``train.csv`` and ``val.csv``."""
    images = photos / "images" if (photos / "images").is_dir() else photos
    labels = (photos / "train.csv", photos / "val.csv")
    labeled = all(file.is_file() for file in labels)
    files = find_images(images, labels[0] if labeled else None)
    picked = np.sort(np.random.default_rng(scale.seed).permutation(len(files))[: scale.train])
    if len(picked) < len(files):
        console.print(f"{len(picked):,} of the {len(files):,} images are used, to keep it short.", highlight=False)
    out.mkdir(parents=True, exist_ok=True)
    chosen = out / "photographs.txt"
    atomic_write(chosen, "".join(f"{files[int(index)]}\n" for index in picked))
    return Material(images, chosen, labels if labeled else None)


def draw(run: RunFolder, material: Material, picture: Path) -> None:
    """Draw the first epoch's views of the first images that can be read."""
    config = PretrainConfig.model_validate(run.read_json("config.json"))
    files = find_images(material.images, material.chosen)
    shown: list[tuple[int, np.ndarray]] = []
    for index in range(len(files)):
        try:
            shown.append((index, decode_image(files.path(index))))
        except UnreadableImage:
            continue
        if len(shown) == _DRAWN:
            break
    draw_views(
        [(files[index], pixels) for index, pixels in shown],
        config.views,
        seed=config.training.seed,
        epoch=0,
        indices=[index for index, _ in shown],
        out=picture,
    )


def evaluate(
    run: RunFolder,
    images: Path,
    labels: tuple[Path, Path],
    out: Path,
    scale: Scale,
    console: Console,
    phases: Phases,
) -> None:
    """Linear evaluation by logistic regression, compared with a randomly initialized backbone."""
    (out / RESULT_FILE).unlink(missing_ok=True)  # from an earlier demonstration
    discard(out)
    with phases() as progress:
        result = linear_evaluation(
            run,
            images=images,
            train_labels=labels[0],
            val_labels=labels[1],
            out=out,
            size=_EVALUATED_AT * scale.view_size,
            seed=scale.seed,
            progress=progress,
        )
    console.print(format_table(result))
