"""Implementation of ``manyview views``."""

from __future__ import annotations

import json
import posixpath
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from manyview.cli.parts.progress import phases
from manyview.config import BlockViewsConfig, PretrainConfig, ViewsConfig, WholeViewsConfig
from manyview.config.resolve import nearest_name
from manyview.errors import UserError
from manyview.images import ImageFiles, ImageRoot, UnreadableImage, open_image
from manyview.images.used_bits import describe_depth
from manyview.labels.boxes import ImageBoxes, join_boxes, read_boxes
from manyview.parsing import parse_json
from manyview.recipes import resolve_settings
from manyview.report import ShownImage, show, views_page, views_picture
from manyview.report.common_objects import OVERLAPS, croppings, draw_curve, format_count, measure_pairs, summarize
from manyview.runs import atomic_write, provenance
from manyview.runs.files import make_folder
from manyview.runs.outputs import marked_png, require_own
from manyview.text import printable
from manyview.training.targets import find_labeled_images

_COMMAND = "views"
_TAG = "common objects of positive pairs"
_SAMPLE = (int.from_bytes(b"sample"),)  # key of the generator that draws images, which differs from all of a run's
_SHARES = (0.25, 0.5, 0.75)  # drawn in the curve in addition to the requested one

Progress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class Drawing:
    """Which views are drawn, and to which file.

    Attributes:
        out: picture or page.
        count: number of the run's images, drawn by its seed.
        only: names of images instead.
        epoch: epoch of the views.
    """

    out: Path
    count: int
    only: tuple[str, ...]
    epoch: int


@dataclass(frozen=True)
class Counting:
    """How common objects are counted.

    Attributes:
        labels: files or folders with boxes: COCO, Pascal VOC or YOLO.
        share: minimum share of a box inside both crops.
        epochs: number of epochs, from the drawing's on.
    """

    labels: tuple[Path, ...]
    share: float
    epochs: int


def run_views(config: PretrainConfig, drawing: Drawing, counting: Counting | None, console: Console) -> None:
    """Draw the views of a run and count the common objects of its pairs.

    Raises:
        UserError: any problem that the user can fix.
    """
    _check(config, drawing, counting)
    files, _ = find_labeled_images(config)
    _check_epoch(config, len(files), drawing.epoch)
    indices = _indices(files, drawing, config.training.seed)
    usual = _recipe_views(config, "simsiam")
    beside = usual if any(group.blocks for group in config.views.layout) else None
    boxes = _read_boxes(counting, files.root, config) if counting else None
    make_folder(drawing.out.parent)  # before the work, as it may fail
    with phases() as progress:
        shown = list(_shown(config, files, indices, drawing, beside, console, progress))
        if not shown:
            raise UserError(f"none of the images to be drawn from {files.root} can be read")
        count = _count(config, files, boxes, counting, drawing.epoch, usual, progress) if boxes and counting else None
    if not drawing.only and drawing.count < len(files):
        drawn = f"{len(shown):,} of {len(files):,} images, drawn at random by the seed {config.training.seed}."
        console.print(f"{drawn} --only NAME shows another.", highlight=False, markup=False, soft_wrap=True)
    data = config.data
    if data.bands == "rgb" and (sentence := describe_depth(files, data.bit_depth, max_pixels=data.max_pixels)):
        console.print(sentence, style="yellow", highlight=False, markup=False, soft_wrap=True)
    out, positives = drawing.out, config.method.positives(config.views)
    counted = None if count is None else (count, draw_curve(count))
    draw = partial(views_page, counted=counted) if out.suffix.lower() == ".html" else views_picture
    options: dict[str, Any] = {"seed": config.training.seed, "epoch": drawing.epoch, "positives": positives}
    atomic_write(out, _marked(draw(shown, config.views, beside, **options)))
    written = [out]
    if counted is not None:
        count, curve = counted
        console.print(format_count(count))
        written += [_metrics(out), _curve(out)]
        atomic_write(_metrics(out), json.dumps(count, indent=2, allow_nan=False) + "\n")
        atomic_write(_curve(out), _marked(curve))
    console.print("Written:", ", ".join(map(str, written)), highlight=False, markup=False, soft_wrap=True)


def _check(config: PretrainConfig, drawing: Drawing, counting: Counting | None) -> None:
    """Report mistakes that can be found before any work is done."""
    out = drawing.out
    if out.suffix.lower() not in (".png", ".html"):
        raise UserError(f"--out {out} must end in .png for a picture or in .html for a page")
    if out.is_dir():
        raise UserError(f"--out {out} is a folder: name the file to write in it, as in {out / 'views.png'}")
    if counting is not None and not 0 < counting.share <= 1:
        raise UserError(f"--share is {counting.share:g}: give a number above 0, at most 1")
    if counting is not None and not _is_ours(_metrics(out)):
        raise UserError(f"{_metrics(out)} holds another command's result: choose another folder for --out")
    require_own(_COMMAND, [out, *([_curve(out)] if counting is not None else [])])


def _marked(drawn: bytes | str) -> bytes | str:
    """A picture with the mark of this command; a page has it from the start."""
    return marked_png(drawn, _COMMAND) if isinstance(drawn, bytes) else drawn


def _check_epoch(config: PretrainConfig, images: int, epoch: int) -> None:
    """Refuse an epoch that the run does not have; those of a run of some hours are not known yet."""
    training = config.training
    epochs = training.epochs
    if training.steps is not None:
        per_epoch = images // min(training.batch_size * training.accumulate, images)
        epochs = -(-training.steps // per_epoch)
    if epochs is not None and epoch >= epochs:
        raise UserError(f"--epoch {epoch} is not among the run's {epochs}: the first is 0, the last {epochs - 1}")


def _is_ours(file: Path) -> bool:
    """Whether a metrics.json does not exist, or was written by this command and may be replaced."""
    try:
        return bool(parse_json(file.read_bytes())["protocol"]["kind"] == _TAG)
    except FileNotFoundError:
        return True
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _metrics(out: Path) -> Path:
    return out.with_name("metrics.json")


def _curve(out: Path) -> Path:
    return out.with_name(f"{out.stem}-common-objects.png")


def _indices(files: ImageFiles, drawing: Drawing, seed: int) -> Iterable[int]:
    """Indices of the images to draw, in the order to try them: those that are named, all, or all shuffled by the seed.

    Images lie in folders by the day, the place or the class, so that the first ones are all alike.
    """
    if not drawing.only:
        if drawing.count >= len(files):
            return range(len(files))
        return map(int, np.random.default_rng(np.random.SeedSequence(seed, spawn_key=_SAMPLE)).permutation(len(files)))
    names = [posixpath.normpath(name) for name in drawing.only]
    index_of = files.positions(names)
    absent = next((name for name in names if name not in index_of), None)
    if absent is not None:
        near = nearest_name(absent, list(files)) if len(files) <= 10_000 else ""
        hint = near if near.startswith("; did you mean") else "; names are relative to that folder"
        raise UserError(f"there is no image {absent} in {files.root}{hint}")
    return [index_of[name] for name in names]


def _recipe_views(config: PretrainConfig, recipe: str) -> ViewsConfig:
    """The views of a recipe, at the run's size."""
    return resolve_settings(config.data.images, recipe=recipe, view_size=config.views.layout[0].size).views


def _blocks(views: ViewsConfig) -> BlockViewsConfig | None:
    """Blocks and crops of the first group with blocks, if any."""
    for group in views.layout:
        if group.blocks:
            crop = {"scale": group.augmentation.scale, "ratio": group.augmentation.ratio}
            return BlockViewsConfig(overlap=group.overlap, grid=group.grid, **crop)
    return None


def _shown(
    config: PretrainConfig,
    files: ImageFiles,
    indices: Iterable[int],
    drawing: Drawing,
    usual: ViewsConfig | None,
    console: Console,
    progress: Progress,
) -> Iterator[ShownImage]:
    """Images with their views; those that cannot be read are skipped and reported."""
    wanted = len(drawing.only) or min(drawing.count, len(files))
    data, done = config.data, 0
    for index in indices:
        if done == wanted:
            return
        try:
            pixels = open_image(
                files.path(index), data.bands, max_pixels=data.max_pixels, bit_depth=data.bit_depth
            ).decode()
        except UnreadableImage as error:
            message = f"Skipped {printable(files[index])}: {error.reason}"
            console.print(message, style="yellow", highlight=False, markup=False, soft_wrap=True)
            continue
        yield show(
            *(files[index], pixels, config.views, usual),
            seed=config.training.seed,
            epoch=drawing.epoch,
            index=index,
            rgb=data.color_channels,
        )
        done += 1
        progress(done, wanted, "drawing")


def _read_boxes(counting: Counting, images: ImageRoot, config: PretrainConfig) -> ImageBoxes:
    """The boxes of all label files.

    Raises:
        UserError: they hold no object, or one of them is malformed.
    """
    boxes = join_boxes([read_boxes(file, images, config.data.bands) for file in counting.labels])
    if boxes.crowds.all():
        raise UserError(f"there is no object in {', '.join(map(str, counting.labels))}: nothing can be counted")
    return boxes


def _count(
    config: PretrainConfig,
    files: ImageFiles,
    boxes: ImageBoxes,
    counting: Counting,
    epoch: int,
    usual: ViewsConfig,
    progress: Progress,
) -> dict[str, Any]:
    """Common objects by cropping, with the protocol, as written to metrics.json."""
    blocks = _blocks(config.views) or _blocks(_recipe_views(config, "paper"))
    assert blocks is not None, "the paper's views are of blocks"
    assert isinstance(usual, WholeViewsConfig)
    objects = boxes.without_crowds()
    index_of = files.positions(map(posixpath.normpath, objects.names))
    # Images that are not in the run are counted too, under indices that the run does not use.
    indices = [index_of.get(posixpath.normpath(name), len(files) + number) for number, name in enumerate(objects.names)]
    epochs = range(epoch, epoch + counting.epochs)
    shares = sorted({*_SHARES, counting.share})
    seed = config.training.seed
    measures = measure_pairs(
        objects,
        croppings(blocks, usual, sorted({*OVERLAPS, blocks.overlap})),
        shares=shares,
        seed=seed,
        epochs=epochs,
        indices=indices,
        progress=lambda done, total: progress(done, total, "counting"),
    )
    protocol = {
        "kind": _TAG,
        "labels": [str(file) for file in counting.labels],
        "photographs": len(objects.names),
        "photographs_of_the_run": sum(index < len(files) for index in indices),
        "with_objects": int(measures.has_object.sum()),
        "objects": len(objects.boxes),
        "crowds_left_out": len(boxes.boxes) - len(objects.boxes),
        "share": counting.share,
        "shares": shares,
        "seed": seed,
        "epochs": list(epochs),
        "grid": list(blocks.grid),
        "interval": "95 %, percentiles of 1,000 bootstrap resamples of the photographs",
    }
    return {"protocol": protocol, **summarize(measures, seed), "provenance": provenance()}
