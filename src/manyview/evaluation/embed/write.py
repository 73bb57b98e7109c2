"""Writing the pooled features and feature maps of a folder of images to a file."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Unpack

import numpy as np
from jaxtyping import Float
from torch import Tensor

from manyview.backbones import Backbone, load_backbone
from manyview.errors import UserError, require
from manyview.evaluation.embed.files import KIND, Rows, Writer, as_text
from manyview.evaluation.embed.npz import NpzRows
from manyview.evaluation.embed.parquet import ParquetRows, require_pyarrow
from manyview.evaluation.embed.read import FORMATS
from manyview.evaluation.features.backbone import FrozenBackbone, bands
from manyview.evaluation.features.dataset import fixed_views, images_for
from manyview.evaluation.features.extract import FeatureSettings, Maps, feature_maps
from manyview.evaluation.features.layers import at_layer
from manyview.evaluation.input_size import input_size
from manyview.evaluation.settings import describe_extraction, describe_range, remarks_on_images
from manyview.images import ImageFiles, find_images
from manyview.images.skipped import SkippedImages
from manyview.options.base import StrPath, among, recorded, select, verb
from manyview.options.shared import Normalization
from manyview.options.unlabeled import EmbedOptions
from manyview.pooling import pool as pool_maps
from manyview.runs import atomic_write, provenance
from manyview.runs.files import claim_files
from manyview.runs.progress import Progress, no_progress
from manyview.runs.signals import StopRequest
from manyview.runtime import is_command, resolve_device, resolve_precision

DTYPES = ("float32", "float16")
RECORD_SUFFIX, SKIPPED_SUFFIX = ".json", ".skipped.csv"
"""Endings of the files beside a file of features, which replace its own."""


@dataclass(frozen=True, slots=True)
class FileSettings:
    """What is written for each image; checked when made.

    Raises:
        UserError: if a value is out of range.
    """

    patches: bool
    dtype: str
    max_bad_fraction: float | int

    def __post_init__(self) -> None:
        require(self.dtype in DTYPES, f"dtype must be {' or '.join(DTYPES)}, not {self.dtype!r}")
        require(
            0 <= self.max_bad_fraction <= 1, f"max_bad_fraction is a share from 0 to 1, not {self.max_bad_fraction}"
        )


@verb(EmbedOptions)
def embed(weights: StrPath, *, progress: Progress = no_progress, **options: Unpack[EmbedOptions]) -> dict[str, Any]:
    """Write the features of a folder's images to one file, which ``read_features`` reads.

    Each image is warped to S x S and normalized as the backbone's own images were. Batches are written as they come:
    memory does not grow with the number of images. The file appears when it is complete, with its record (``.json``)
    and, if images could not be read, their names with the reasons (``.skipped.csv``) beside it.

    In Parquet a row is an image: "image" (name relative to the folder), "width", "height" (pixels), "features" (D
    numbers) and, if requested, "patches" (h x w x D numbers, row by row of the feature map). NPZ holds the arrays
    "images" (N), "sizes" (N, 2), "features" (N, D) and "patches" (N, h, w, D). Both also contain the record: in
    Parquet's metadata under "manyview", in NPZ as the array "record", both JSON. NPZ needs twice its space on the disk
    while it is assembled.

    Args:
        weights: run folder or checkpoint file.
        progress: called after each batch with the number of images done.
        **options: as ``EmbedOptions`` declares them.

    Returns:
        Plain data, as in the file: "protocol" (all that the features depend on; "patches" is None or says "rows",
        "columns" and "dim"), "results" (numbers "photographs" and "skipped"), "provenance".

    Raises:
        UserError: if a setting is out of range, the weights or the images cannot be used, too many images cannot be
            read, a feature is not finite or too large for float16, ``out`` exists or cannot be written, or pyarrow is
            missing for Parquet.
        KeyboardInterrupt, SystemExit: Ctrl-C or SIGTERM, after the current batch; nothing is written then.
    """
    start, origin = time.perf_counter(), provenance()
    size = input_size(weights, options["size"])
    settings, written = select(FeatureSettings, options, size=size.side), select(FileSettings, options)
    out = Path(options["out"])
    record_file = out.with_suffix(RECORD_SUFFIX)
    claim_files(out, tuple(FORMATS), record_file)
    if out.suffix.lower() == ".parquet":
        require_pyarrow()
    network = at_layer(
        load_backbone(weights, options["backbone"], **among(Normalization, options)), options["layer"], weights
    )
    names = None if options["list"] is None else Path(options["list"])
    files = find_images(options["images"], names, arrays=bands(network) != "rgb")
    skipped = SkippedImages(files, written.max_bad_fraction, out.with_suffix(SKIPPED_SUFFIX), "max_bad_fraction")
    protocol = {
        "kind": KIND,
        **describe_extraction(settings, Path(weights), network),
        **recorded(EmbedOptions, options),
        "fingerprint": files.fingerprint(),
        **describe_range(files, network),
    }
    record: dict[str, Any] = {}

    def write(temporary: Path) -> None:
        with (
            _removed_on_failure(temporary),
            temporary.open("wb") as stream,
            contextlib.closing(_writer(out, stream, files)) as writer,
            StopRequest(may_exit=is_command()) as stop,
        ):
            shape = _write_rows(writer, network, files, settings, written, skipped, progress, stop)
            record["protocol"] = protocol | {"patches": shape}
            record["results"] = {
                "photographs": len(files) - skipped.count,
                "skipped": skipped.count,
                **({"left_out": files.left_out} if files.left_out else {}),
            }
            record["provenance"] = {**origin, **size.said, "seconds": round(time.perf_counter() - start, 1)}
            writer.finish(record)
            if stop.signal is not None:
                stop.act()

    atomic_write(out, write)
    atomic_write(record_file, json.dumps(record, indent=2, allow_nan=False) + "\n")
    skipped.write()
    return record


def format_written(record: dict[str, Any], out: Path) -> str:
    """Format the record that ``embed`` returned for the file ``out`` in lines for a terminal."""
    protocol, results = record["protocol"], record["results"]
    shape = protocol["patches"]
    layer = f"{protocol['layer']}, " if "layer" in protocol else ""
    what = f"{protocol['feature_dim']:,} features each ({layer}{protocol['pool']} at {protocol['size']} px)"
    if shape:
        what += f" and {shape['rows']} x {shape['columns']} locations of {shape['dim']:,}"
    said = record["provenance"].get("size")  # not in earlier records
    lines = f"{results['photographs']:,} images: {what}, {protocol['dtype']}, by {protocol['backbone']}"
    listing = out.with_suffix(SKIPPED_SUFFIX)
    skipped = f"; {results['skipped']:,} could not be read, listed in {listing}" if results["skipped"] else ""
    for sentence in [*remarks_on_images(protocol, results.get("left_out")), *filter(None, [said])]:
        lines += f"\n{sentence}"
    return f"{lines}\nWritten to {out} ({out.stat().st_size / 1e6:,.1f} MB){skipped}"


def _write_rows(
    writer: Writer,
    network: Backbone,
    files: ImageFiles,
    settings: FeatureSettings,
    written: FileSettings,
    skipped: SkippedImages,
    progress: Progress,
    stop: StopRequest,
) -> dict[str, int] | None:
    """Write all rows; return the shape of an image's patches, if those are written."""
    frozen = FrozenBackbone(network, resolve_device(settings.device), resolve_precision(settings.precision))
    images = images_for(network, files, settings.size, fixed_views)
    shape: dict[str, int] | None = None
    done, phase = 0, "features"
    progress(done, len(files), phase)
    for maps in feature_maps(
        frozen, images, range(len(files)), batch_size=settings.batch_size, workers=settings.workers
    ):
        skipped.add((item.index, item.reason) for item in maps.unreadable)
        if maps.read:
            rows = _rows(maps, files, settings.pool, written)
            writer.write(rows)
            if rows.patches is not None:
                shape = dict(zip(("rows", "columns", "dim"), rows.patches.shape[1:], strict=True))
        done += len(maps.read) + len(maps.unreadable)
        progress(done, len(files), phase)
        if stop.signal is not None:
            stop.act()
    return shape


def _rows(maps: Maps, files: ImageFiles, pool: str, written: FileSettings) -> Rows:
    whole = maps.maps[:, 0]
    return Rows(
        [as_text(files[index]) for index, _, _ in maps.read],
        np.array([size for _, *size in maps.read]),
        _numbers(pool_maps(whole, pool), written.dtype),
        _numbers(whole.permute(0, 2, 3, 1), written.dtype) if written.patches else None,
    )


def _numbers(values: Tensor, dtype: str) -> Float[np.ndarray, "*shape"]:
    """Values in the file's type, or an error if they are too large for it."""
    with np.errstate(over="ignore"):
        numbers = values.cpu().numpy().astype(dtype)
    if not np.isfinite(numbers).all():
        raise UserError(
            f"features reach {float(values.abs().max()):.3g}, but float16 ends at 65504: write them as float32"
        )
    return numbers


def _writer(out: Path, stream: IO[bytes], files: ImageFiles) -> Writer:
    if out.suffix.lower() == ".parquet":
        return ParquetRows(stream)
    return NpzRows(stream, out.parent, longest_name=max(len(as_text(name)) for name in files))


@contextlib.contextmanager
def _removed_on_failure(temporary: Path) -> Iterator[None]:
    """Remove the temporary file on any failure, including Ctrl-C."""
    try:
        yield
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
