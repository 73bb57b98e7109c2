"""Pictures on the page; each says what it needs where it cannot be drawn."""

from __future__ import annotations

import functools
import shlex
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from manyview.backbones import load_backbone
from manyview.backbones.beside import PRETRAINED, RANDOM_INIT, in_words
from manyview.backbones.build import untrained
from manyview.config import PretrainConfig, WholeViewsConfig
from manyview.errors import UserError
from manyview.images import UnreadableImage, image_root, open_image
from manyview.report.page.markup import Content, Html, command, element, join, note, paragraph
from manyview.report.page.pictures.dense import enlarged, feature_maps, input_side, principal_colors
from manyview.report.page.pictures.images import (
    Photograph,
    Pixels,
    are_the_runs,
    data_uri,
    files_of,
    photographs,
    read_picture,
)
from manyview.report.page.reading.evaluations import Found
from manyview.report.page.reading.run import Run
from manyview.report.page.sections.section import Material
from manyview.report.shown import BandDisplay, columns, explanation, show
from manyview.report.views_page import image_row, side_by_side
from manyview.runs.progress import Progress

_PICTURE, _THUMB, _WIDE = 520, 170, 1500  # pixels of the longer side: photographs, neighbors, pictures of commands
_DENSE = 256
_MOST_ROWS = 8  # of neighbors
_MOST_NEIGHBORS = 6
# What the views of a run depend on.
_VIEWS = ("views", "training.seed", *(f"data.{name}" for name in ("images", "list", "labels", "bands", "bit_depth")))


def views(material: Material) -> Html:
    """The views of the runs: of each whose views differ from those before it."""
    parts: list[Content] = []
    seen: list[Any] = []
    for run in material.runs:
        its_views = [run.setting(key) for key in _VIEWS]
        if its_views in seen:
            parts.append(paragraph(f"{run.name} has the same views."))
            continue
        seen.append(its_views)
        if not material.single:
            parts.append(element("h3", run.name))
        parts.append(_views(material, run, count=material.count if len(seen) == 1 else min(material.count, 2)))
    return join(*parts)


def _views(material: Material, run: Run, count: int) -> Html:
    if not count:
        return note("Pictures of views were left out.")
    try:
        config = PretrainConfig.model_validate(dict(run.config))
        files = files_of(run, material.images)
    except (UserError, ValueError, OSError) as error:
        return note(_not_drawn("The views are not drawn", error))
    usual = (
        WholeViewsConfig(size=config.views.layout[0].size)
        if any(group.blocks for group in config.views.layout)
        else None
    )
    positives = config.method.positives(config.views)
    its_columns = columns(config.views, positives)
    options: dict[str, Any] = {"seed": config.training.seed, "epoch": 0, "rgb": config.data.color_channels}
    rows = []
    for photograph in photographs(run, files, count):
        shown = show(photograph.name, photograph.bands, config.views, usual, index=photograph.index, **options)
        encode = functools.partial(data_uri, longest=_PICTURE)
        lines = image_row(
            shown,
            its_columns,
            side_by_side(config.views, len(its_columns)),
            heading="h3" if material.single else "h4",
            encode=encode,
        )
        rows.append(Html("".join(lines)))
    if not rows:
        return note("The views are not drawn: none of the images that were tried can be read.")
    which = (
        "These are the very views of the first epoch."
        if are_the_runs(files, run)
        else "The images are no longer those that the run was started with: it saw other views of the same settings."
    )
    text = f"{explanation(config.views, usual, positives)} Dashed: blocks; solid: crops. {which}"
    return join(paragraph(text), element("div", rows, class_="views"))


def dense(material: Material, progress: Progress) -> Html:
    """Dense features of a few photographs, by the weights of each run."""
    if not material.dense or not material.count:
        return note("Dense features were left out; manyview report draws them.")
    first = material.runs[0]
    try:
        files = files_of(first, material.images)
        chosen = photographs(first, files, min(material.count + 1, 4))
    except (UserError, OSError) as error:
        return note(_not_drawn("Dense features are not drawn", error))
    if not chosen:
        return note("Dense features are not drawn: none of the images that were tried can be read.")
    found, notes = _colors(material, chosen, progress)
    if not found:
        return join(*notes)
    rows = [
        _dense_row(photograph, [(name, colors[n]) for name, colors in found.items()])
        for n, photograph in enumerate(chosen)
    ]
    text = (
        "The last feature map in colors: red, green and blue are its first three principal components over the images "
        "shown. Where one color follows one object, features tell it from what is around it. Colors compare within a "
        "column, not between columns."
    )
    return join(paragraph(text), *notes, element("div", rows, class_="dense"))


def _colors(
    material: Material, chosen: Sequence[Photograph], progress: Progress
) -> tuple[dict[str, list[Any]], list[Html]]:
    """Colors of the photographs by the name of a network, and sentences on those that cannot be drawn."""
    found: dict[str, list[Any]] = {}
    notes = []
    for number, run in enumerate(material.runs):
        progress(number, len(material.runs), "dense features")
        try:
            backbone = load_backbone(run.path).eval()
            side = input_side(backbone, int(run.setting("views.size") or 224))
            if material.single:
                found[in_words(RANDOM_INIT)] = principal_colors(feature_maps(untrained(backbone, 0), chosen, side))
            found[run.name if not material.single else in_words(PRETRAINED)] = principal_colors(
                feature_maps(backbone, chosen, side)
            )
        except (UserError, RuntimeError, OSError) as error:
            notes.append(note(_not_drawn(f"Dense features of {run.name} are not drawn", error)))
            found.pop(in_words(RANDOM_INIT), None)
    progress(len(material.runs), len(material.runs), "dense features")
    return dict(reversed(found.items())) if material.single else found, notes


def _dense_row(photograph: Photograph, colors: Sequence[tuple[str, Any]]) -> Html:
    height, width = photograph.shown.shape[:2]
    scale = _DENSE / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    first = element(
        "figure",
        _image(photograph.shown, _DENSE, f"The photograph {photograph.name}"),
        element("figcaption", photograph.name),
    )
    others = [
        element(
            "figure",
            _image(enlarged(each, *size), _DENSE, f"Features of {photograph.name}, {name}"),
            element("figcaption", name),
        )
        for name, each in colors
    ]
    return element(
        "div",
        first,
        others,
        class_="dense-row",
        tabindex="0",
        role="group",
        aria_label=f"Features of {photograph.name}",
    )


def neighbors(material: Material) -> Html:
    """Nearest neighbors, from what ``neighbours`` found."""
    parts: list[Content] = []
    for number, run in enumerate(material.runs):
        results = material.of(number, "neighbours")
        if results and not material.single:
            parts.append(element("h3", run.name))
        parts += [_neighbors(found, material.images) for found in results[:1]]
    if not parts:
        run = material.runs[0]
        images = run.setting("data.images") or "PHOTOS"
        words = shlex.join(
            ["manyview", "neighbours", str(run.path), str(images), "--out", f"{run.path}-neighbours.png"]
        )
        parts.append(note("No picture of neighbors was found beside the run: ", element("code", words), " makes one."))
    return join(*parts)


def _neighbors(found: Found, images: Path | str | None) -> Html:
    try:
        return _rows_of_neighbors(found.content, images)
    except (UserError, UnreadableImage, OSError):
        picture = read_picture(found.file.with_suffix(".png"))
        if picture is None:
            return note(f"Neither the images of {found.file} nor its picture can be read.")
        return _wide(picture, f"Queries and their nearest images, of {found.file.name}")
    except (KeyError, TypeError, ValueError, AttributeError):
        return note(f"{found.file} is damaged: make the picture again.")


def _rows_of_neighbors(content: Mapping[str, Any], images: Path | str | None) -> Html:
    protocol = content["protocol"]
    root = image_root(images if images is not None else protocol["images"])
    load = functools.lru_cache(maxsize=None)(functools.partial(_thumbnail, root, protocol))
    rows = []
    for row in content["results"][:_MOST_ROWS]:
        block = f", {row['block']}" if "block" in row else ""
        query = _neighbor(load, row, f"query{block}", "query")
        others = [
            _neighbor(load, each, f"cosine {float(each['cosine']):.3f}", None)
            for each in row["neighbours"][:_MOST_NEIGHBORS]
        ]
        rows.append(
            element(
                "div",
                query,
                others,
                class_="neighbors",
                tabindex="0",
                role="group",
                aria_label=f"Nearest to {row['image']}",
            )
        )
    text = (
        f"Each query, on the left, and the images whose features have the highest cosine with its own, of "
        f"{int(protocol['photographs']):,} images; {protocol['pool']} pooling at {protocol['size']} pixels."
    )
    return join(paragraph(text), *rows)


def _thumbnail(root: Any, protocol: Mapping[str, Any], name: str, box: tuple[float, ...] | None) -> str:
    bands = protocol.get("bands", "rgb")
    pixels = open_image(root / name, bands, bit_depth=protocol.get("bit_depth")).decode()
    shown = pixels if bands == "rgb" else BandDisplay.of(pixels, None)(pixels)
    if box is not None:
        left, top, right, bottom = (int(value) for value in box)
        shown = shown[top:bottom, left:right]
    height, width = shown.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return data_uri(np.ascontiguousarray(shown[top : top + side, left : left + side]), _THUMB)


def _neighbor(load: Callable[..., str], entry: Mapping[str, Any], caption: str, class_: str | None) -> Html:
    name = str(entry["image"])
    box = tuple(entry["box"]) if "box" in entry else None
    picture = element("img", src=load(name, box), alt=f"{name}, {caption}", loading="lazy", width=_THUMB, height=_THUMB)
    return element("figure", picture, element("figcaption", caption, element("br"), name), class_=class_)


def detections(material: Material) -> list[Html]:
    """The pictures of detections that ``detect`` drew."""
    parts = []
    for _, detector in material.detectors:
        if detector.picture is None:
            folder = str(detector.found.folder)
            words = ["manyview", "detect", "--predict", folder, "--images", "FOLDER", "--out", "found.json"]
            parts.append(note(f"{folder} was made without --draw. This draws detections in images of a folder:"))
            parts.append(command(shlex.join([*words, "--draw", "8"])))
            continue
        picture = read_picture(detector.picture)
        if picture is None:
            parts.append(note(f"{detector.picture} cannot be read."))
        else:
            parts.append(element("h3", "Labels and detections"))
            parts.append(_wide(picture, f"Labels and detections in validation images, of {detector.found.folder.name}"))
    return parts


def _wide(picture: Pixels, alt: str) -> Html:
    """A picture that a command drew; of a very long one the beginning."""
    height, width = picture.shape[:2]
    cut = picture[: 3 * width]
    shown = element(
        "img", src=data_uri(cut, _WIDE if height <= width else 2 * _WIDE, 70), alt=alt, class_="wide", loading="lazy"
    )
    rest = (
        paragraph(f"The first {100 * len(cut) / height:.0f} % of the picture.", class_="pale")
        if len(cut) < height
        else None
    )
    return join(element("figure", shown, element("figcaption", alt)), rest)


def _image(pixels: Pixels, longest: int, alt: str) -> Html:
    height, width = pixels.shape[:2]
    scale = min(1.0, longest / max(height, width))
    return element(
        "img", src=data_uri(pixels, longest), alt=alt, width=round(width * scale), height=round(height * scale)
    )


def _not_drawn(what: str, error: Exception) -> str:
    """A sentence on why a picture is missing, and what helps."""
    said = " ".join(str(error).split())
    said = said if len(said) <= 300 else f"{said[:297]}..."
    return f"{what}: {said.rstrip('.')}. Where the images lie elsewhere now, --images names the folder."
