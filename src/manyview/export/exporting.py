"""A backbone to a file or folder of another library's: written aside, read back, and only then put in its place."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Unpack

import torch

from manyview.backbones import Backbone, load_backbone
from manyview.errors import UserError
from manyview.export.base import Format
from manyview.export.card import CARD, describe, dump, find_source
from manyview.export.checking import Check
from manyview.export.registry import FORMATS, find_format
from manyview.options.base import StrPath, verb
from manyview.options.unlabeled import ExportOptions
from manyview.runs import atomic_write
from manyview.runs.files import write_error
from manyview.runs.output import make_folder
from manyview.runs.progress import Progress, no_progress

_MIN_SIZE = 8


@dataclass(frozen=True)
class Exported:
    """An export that came back whole.

    Attributes:
        format: its name.
        out: the file or folder.
        card: the JSON that says what it is.
        check: how many weights match, and how far the feature maps differ.
        lines: what to paste into a program of the target library.
    """

    format: str
    out: Path
    card: Path
    check: Check
    lines: str

    def __str__(self) -> str:
        """A few lines for a person, without those to paste."""
        size = f" ({self.out.stat().st_size / 1e6:.1f} MB)" if self.out.is_file() else ""
        return f"{self.format}: {self.out}{size}, described in {self.card}\n{self.check}"


@verb(ExportOptions)
def export_backbone(
    weights: StrPath | Backbone, *, progress: Progress = no_progress, **options: Unpack[ExportOptions]
) -> Exported:
    """Write a backbone in another library's format, and prove that it arrives.

    The export is written beside ``out`` under a temporary name, loaded back through the target library where that is
    installed (and otherwise held name by name against its layout), and compared: every weight bit for bit, and the
    feature maps on random images in float32. Only when all of it matches does it get its name; else nothing is left.

    Args:
        weights: a run folder, a checkpoint file of any format that ``load_backbone`` reads, or a backbone, of which a
            copy is exported; for a module of one's own, ``wrap_backbone`` makes one.
        progress: called as work goes on.
        **options: as ``ExportOptions`` declares them.

    Raises:
        UserError: no such format, or one that cannot hold this network; ``out`` exists, has another ending or cannot
            be written; the weights cannot be loaded or are not finite; or the export did not come back whole.
    """
    form, target, size = find_format(options["to"]), Path(options["out"]), options["size"]
    card = card_of(form, target)
    _check_out(form, target, card)
    _check_size(form, size)
    progress(0, 3, "loading")
    network = _load(weights, options["backbone"])
    refusal = form.refusal(network)
    if refusal:
        raise UserError(refusal)
    source = find_source(weights)
    sides = (size, size) if size else None
    with _aside(target) as folder:
        staged = folder / target.name
        if not form.suffixes:
            staged.mkdir()
        progress(1, 3, "writing")
        _write(form, network, staged, target, sides)
        progress(2, 3, "reading back")
        check = _read_back(form, network, staged, sides)
        description = dump(describe(form.name, target, staged, network, source, check, sides))
        _put_in_place(staged, target, card, description)
    progress(3, 3, "reading back")
    return Exported(form.name, target, card, check, form.lines(network, _in_quotes(target)))


def card_of(form: Format, out: Path) -> Path:
    """Where the JSON of an export goes."""
    return out.with_name(f"{out.name}.json") if form.suffixes else out / CARD


def _check_out(form: Format, out: Path, card: Path) -> None:
    """Refuse a place that cannot be used, before any work is done."""
    endings = {ending for other in FORMATS.values() for ending in other.suffixes}
    if form.suffixes and out.suffix not in form.suffixes:
        raise UserError(
            f"an export to {form.name} is a file that ends in {' or '.join(form.suffixes)}, not {out.name!r}"
        )
    if not form.suffixes and out.suffix in endings:
        raise UserError(f"an export to {form.name} is a folder: choose a name without {out.suffix} instead of {out}")
    for path in (out, card):
        if path.exists() or path.is_symlink():
            raise UserError(f"{path} already exists: choose another --out")
    make_folder(out.parent)


def _check_size(form: Format, size: int | None) -> None:
    if size is None:
        return
    if not form.sized:
        named = " and ".join(other.name for other in FORMATS.values() if other.sized)
        raise UserError(f"an export to {form.name} takes images of any size; --size is for {named}")
    if size < _MIN_SIZE:
        raise UserError(f"--size must be at least {_MIN_SIZE} pixels, not {size}")


def _load(weights: StrPath | Backbone, name: str | None) -> Backbone:
    network = copy.deepcopy(weights) if isinstance(weights, Backbone) else load_backbone(weights, name)
    network = network.cpu().float().eval().requires_grad_(False)
    bad = [key for key, tensor in network.state_dict().items() if not torch.isfinite(tensor).all()]
    if bad:
        raise UserError(
            f"{len(bad)} of the weights are not finite ({bad[0]}): they are damaged, or of a run that diverged"
        )
    return network


@contextmanager
def _aside(out: Path) -> Iterator[Path]:
    """A folder on the same disk as ``out``, which goes with all that is still in it."""
    try:
        folder = tempfile.TemporaryDirectory(prefix=f".{out.name}.", suffix=".tmp", dir=out.parent)
    except OSError as error:
        raise write_error(out, error) from error
    with folder as path:
        yield Path(path)


def _write(form: Format, backbone: Backbone, staged: Path, out: Path, size: tuple[int, int] | None) -> None:
    try:
        form.write(backbone, staged, size)
    except OSError as error:
        raise write_error(out, error) from error
    except RuntimeError as error:  # PyTorch's, for a full disk as for a layer that ONNX lacks.
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UserError(f"the export to {form.name} could not be written to {out}: {reason}") from error


def _read_back(form: Format, backbone: Backbone, staged: Path, size: tuple[int, int] | None) -> Check:
    try:
        check = form.check(backbone, staged, size)
    except UserError as error:
        raise UserError(f"the export to {form.name} did not come back whole, so it was removed: {error}") from error
    except Exception as error:  # A library that reads a wrong file can fail in any way.
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UserError(
            f"the export to {form.name} could not be read back, so it was removed: {type(error).__name__}: {reason}"
        ) from error
    assert check.matched == check.total > 0
    return check


def _put_in_place(staged: Path, out: Path, card: Path, description: str) -> None:
    """Give the export its name; a folder with its description in it, a file after its description."""
    try:
        if staged.is_dir():
            atomic_write(staged / card.name, description)
            staged.rename(out)
        else:
            atomic_write(card, description)
            try:
                atomic_write(out, lambda temporary: _move(staged, temporary))
            except BaseException:
                card.unlink(missing_ok=True)
                raise
    except OSError as error:
        raise write_error(out, error) from error


def _move(path: Path, to: Path) -> None:
    path.replace(to)


def _in_quotes(path: Path) -> str:
    """The path as it stands between quotes in Python."""
    return path.as_posix().replace("\\", r"\\").replace('"', r"\"")
