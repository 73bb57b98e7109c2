"""Export of a backbone to another library's format: written to a temporary path, verified, then moved to ``out``."""

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
from manyview.backbones.record import renormalize
from manyview.errors import UserError
from manyview.export.base import ExportFormat
from manyview.export.card import CARD, describe, dump, find_source
from manyview.export.checking import Check
from manyview.export.registry import FORMATS, find_format
from manyview.options.base import StrPath, verb
from manyview.options.unlabeled import ExportOptions
from manyview.runs import atomic_write
from manyview.runs.files import make_folder, write_error
from manyview.runs.progress import Progress, no_progress

_MIN_SIZE = 8


@dataclass(frozen=True, repr=False)
class Exported:
    """A verified export.

    Attributes:
        format: name of the format.
        out: the file or folder.
        card: the JSON that describes it.
        check: result of the verification.
        lines: code to paste into a program that uses the target library.
    """

    format: str
    out: Path
    card: Path
    check: Check
    lines: str

    def __repr__(self) -> str:
        return f"<export to {self.format}: {str(self.out)!r}, {self.check.matched} of {self.check.total} match>"

    def __str__(self) -> str:
        """A summary in a few lines, without the code to paste."""
        size = f" ({self.out.stat().st_size / 1e6:.1f} MB)" if self.out.is_file() else ""
        return f"{self.format}: {self.out}{size}, described in {self.card}\n{self.check}"


@verb(ExportOptions)
def export_backbone(
    weights: StrPath | Backbone, *, progress: Progress = no_progress, **options: Unpack[ExportOptions]
) -> Exported:
    """Write a backbone in another library's format, and verify it by reading it back.

    The export is written next to ``out`` under a temporary name, loaded through the target library if that is
    installed (and otherwise compared with its layout name by name), and compared: every weight bit for bit, and the
    feature maps on random images in float32. Only if everything matches is it renamed to ``out``; else it is removed.

    Args:
        weights: a run folder, a checkpoint file of any format that ``load_backbone`` reads, or a backbone, of which a
            copy is exported; for a custom module, see ``wrap_backbone``.
        progress: called with (done, total, phase).
        **options: as ``ExportOptions`` declares them.

    Raises:
        UserError: no such format, or one that does not support this network; ``out`` exists, has another ending or
            cannot be written; the weights cannot be loaded or are not finite; or the verification failed.
    """
    form, target, size = find_format(options["to"]), Path(options["out"]), options["size"]
    card = card_of(form, target)
    _check_out(form, target, card)
    _check_size(form, size)
    progress(0, 3, "loading")
    network = _load(weights, options["backbone"])
    renormalize(network, options["mean"], options["std"], options["bit_depth"])
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


def card_of(form: ExportFormat, out: Path) -> Path:
    """Path of the JSON card of an export."""
    return out.with_name(f"{out.name}.json") if form.suffixes else out / CARD


def _check_out(form: ExportFormat, out: Path, card: Path) -> None:
    """Refuse an output path that cannot be used, before any work is done."""
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


def _check_size(form: ExportFormat, size: int | None) -> None:
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
    """A temporary folder on the same disk as ``out``, removed with all that is still in it."""
    try:
        folder = tempfile.TemporaryDirectory(prefix=f".{out.name}.", suffix=".tmp", dir=out.parent)
    except OSError as error:
        raise write_error(out, error) from error
    with folder as path:
        yield Path(path)


def _write(form: ExportFormat, backbone: Backbone, staged: Path, out: Path, size: tuple[int, int] | None) -> None:
    try:
        form.write(backbone, staged, size)
    except OSError as error:
        raise write_error(out, error) from error
    except RuntimeError as error:  # Of PyTorch, for a full disk as well as for a layer that ONNX lacks.
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UserError(f"the export to {form.name} could not be written to {out}: {reason}") from error


def _read_back(form: ExportFormat, backbone: Backbone, staged: Path, size: tuple[int, int] | None) -> Check:
    try:
        check = form.check(backbone, staged, size)
    except UserError as error:
        raise UserError(f"the export to {form.name} differs when read back, so it was removed: {error}") from error
    except Exception as error:  # A library that reads a wrong file can raise any exception.
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UserError(
            f"the export to {form.name} could not be read back, so it was removed: {type(error).__name__}: {reason}"
        ) from error
    assert check.matched == check.total > 0
    return check


def _put_in_place(staged: Path, out: Path, card: Path, description: str) -> None:
    """Move the export to ``out``; a folder including its card, a file after its card."""
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
    """The path as written between quotes in Python."""
    return path.as_posix().replace("\\", r"\\").replace('"', r"\"")
