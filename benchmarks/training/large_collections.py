"""Seconds and memory until the images of a large collection can be drawn, beside a search by pathlib.

    python -m benchmarks.training.large_collections --out large.json [--files 200000] [--names 10000000]

Files are hard links to one small image, in folders of a thousand. They are listed and fingerprinted as manyview did
before it kept lists (pathlib, a list of strings), for the first time, and again by the kept list, each in a process of
its own. Ten million names are measured without ten million files: their list is written as a search of real, empty
folders would leave it, and the look at each file, which it cannot have, is taken from that at the real files.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import posixpath
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.arguments import command_line, parsed
from benchmarks.processes import proportional
from benchmarks.records import origin, write_json
from manyview.images import ImageFiles, find_images
from manyview.images.formats import extension, extensions
from manyview.images.loading import load_in_workers
from manyview.images.sources.kept import CACHE
from manyview.images.sources.lists import CHECK_FILES, KeptList
from manyview.images.sources.names import Names
from manyview.images.sources.scan import Found, stamp
from manyview.images.sources.stats import FileStats, read_stats
from manyview.training.plan import epoch_order

IN_FOLDER = 1000
LINKS = 30_000  # to one file; file systems allow some 65,000
WORKERS, BATCHES, BATCH = 2, 400, 32
GOALS = {"bytes": 1.5e9, "seconds": 60}
HOUR = 3600


def main(arguments: Sequence[str] | None = None) -> None:
    options = parse(arguments)
    if options.part:
        print(json.dumps(PARTS[options.part](options.root)))
        return
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        root = Path(folder)
        write_links(root / "files", options.files)
        kept = {CACHE: str(root / "cache")}
        real = {
            "pathlib": measured("pathlib", root / "files"),
            "first": measured("listed", root / "files", kept),
            "again": measured("listed", root / "files", kept),
        }
        with_environment(kept, lambda: write_list(root / "names", options.names))
        few = measured("drawn", root / "files", kept)
        many = measured("drawn", root / "names", {**kept, CHECK_FILES: "0"})
    result = {**origin("training.large_collections", options.given), **summary(options, real, few, many)}
    write_json(options.out, result)
    print(json.dumps({key: result[key] for key in ("files", "ratios", "names")}, indent=1))


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = command_line(__doc__)
    parser.add_argument("--files", type=int, default=200_000, help="real files")
    parser.add_argument("--names", type=int, default=10_000_000, help="names of the list without files")
    parser.add_argument("--folder", type=Path, help="where the files are put for a while; unset: the temporary folder")
    parser.add_argument("--out", type=Path, default=Path("build/benchmarks/large_collections.json"))
    parser.add_argument("--part", choices=PARTS, help=argparse.SUPPRESS)
    parser.add_argument("--root", type=Path, help=argparse.SUPPRESS)
    return parsed(parser, arguments)


def summary(
    options: argparse.Namespace, real: dict[str, Any], few: dict[str, Any], many: dict[str, Any]
) -> dict[str, Any]:
    """The figures, those by pathlib as multiples of the others, and those of all names with a look at each file."""
    before = real["pathlib"]
    ratios = {
        name: {
            "list": before["list"]["cpu"] / figures["list"]["cpu"],
            "fingerprint": before["fingerprint"]["cpu"] / figures["fingerprint"]["cpu"],
            "together": sum(before[key]["cpu"] for key in ("list", "fingerprint"))
            / sum(figures[key]["cpu"] for key in ("list", "fingerprint")),
        }
        for name, figures in real.items()
        if name != "pathlib"
    }
    look = {key: real["again"]["look"][key] / options.files * options.names for key in ("wall", "cpu")}
    ready = {key: many["list"][key] + many["fingerprint"][key] + many["order"][key] + look[key] for key in look}
    return {
        "goals": GOALS,
        "files": {"count": options.files, **real},
        "ratios": {"of": "pathlib's core seconds to these", **ratios},
        "names": {
            "count": options.names,
            **many,
            "look_at_each_file_extrapolated": look,
            "ready_with_it": ready,
            "together_bytes": many["main"] + sum(many["workers"]),
            "of_few": {"count": options.files, **few},
        },
    }


def write_links(root: Path, count: int) -> None:
    """So many hard links to small files."""
    for number in range(count):
        folder = root / f"n{number // IN_FOLDER:06d}"
        if number % IN_FOLDER == 0:
            folder.mkdir(parents=True)
        file = folder / f"photo_{number:010d}.jpg"
        if number % LINKS == 0:
            original = file
            original.write_bytes(b"\xff\xd8\xff" + bytes(100))
        else:
            file.hardlink_to(original)
    settle(root)


def settle(root: Path) -> None:
    """Let all folders have changed an hour ago: what changes just now is not kept."""
    before = time.time() - HOUR
    for folder in (root, *root.iterdir()):
        os.utime(folder, (before, before))


def write_list(root: Path, count: int) -> None:
    """The kept list of images that are not there, in folders that are."""
    folders = [f"n{number:06d}/" for number in range(-(-count // IN_FOLDER))]
    for folder in folders:
        (root / folder).mkdir(parents=True)
    settle(root)
    names = Names(f"{folders[number // IN_FOLDER]}photo_{number:010d}.jpg" for number in range(count))
    stamps = np.array([stamp(root / folder) for folder in ("", *folders)], np.int64)
    kept = KeptList(root, *sorted(extensions(arrays=False)))
    kept.keep_names(names, {"left_out": ""}, Found(names, Names(["", *folders]), stamps, Counter()))
    kept.keep_stats(FileStats(*np.full((2, count), 10**18, np.int64)), "0" * 64)


def measured(part: str, root: Path, environment: dict[str, str] | None = None) -> dict[str, Any]:
    """What a part of this benchmark prints in a process of its own."""
    words = [sys.executable, "-m", "benchmarks.training.large_collections", "--part", part, "--root", str(root)]
    settings = {**os.environ, CACHE: "", **(environment or {})}
    figures: dict[str, Any] = json.loads(subprocess.run(words, env=settings, stdout=subprocess.PIPE, check=True).stdout)
    return figures


def with_environment(settings: dict[str, str], work: Callable[[], None]) -> None:
    before = dict(os.environ)
    os.environ.update(settings)
    try:
        work()
    finally:
        os.environ.clear()
        os.environ.update(before)


def by_pathlib(root: Path) -> dict[str, Any]:
    """List and fingerprint as manyview did before."""
    with Timed() as listing:
        files = ImageFiles(root, sorted(_searched(root), key=os.fsencode))
    with Timed() as fingerprint:
        digest = hashlib.sha256()
        for index in range(len(files)):
            name = files[index]
            digest.update(os.fsencode(name) + b"\0%d\n" % (root / name).stat().st_size)
    return {"list": listing.seconds, "fingerprint": fingerprint.seconds, "value": digest.hexdigest()}


def _searched(root: Path) -> Iterator[str]:
    wanted, folders = extensions(arrays=False), [""]
    while folders:
        folder = folders.pop()
        with os.scandir(root / folder) as listing:
            entries = [entry for entry in listing if not entry.name.startswith(".")]
        for entry in sorted(entries, key=lambda entry: os.fsencode(entry.name), reverse=True):
            name = posixpath.join(folder, entry.name)
            if entry.is_dir():
                folders.append(name)
            elif extension(entry.name) in wanted:
                yield name


def listed(root: Path) -> dict[str, Any]:
    """List and fingerprint by the library; also the look at each file alone."""
    with Timed() as listing:
        files = find_images(root)
    with Timed() as fingerprint:
        value = files.fingerprint()
    with Timed() as look:
        read_stats(root, files)
    seconds = {"list": listing.seconds, "fingerprint": fingerprint.seconds, "look": look.seconds}
    return {**seconds, "value": value}


class _Lengths:
    """A data set of the lengths of names, which loader processes look up as those of views do."""

    def __init__(self, files: ImageFiles) -> None:
        self.files = files

    def __getitem__(self, index: int) -> int:
        return len(self.files[index])


def drawn(root: Path) -> dict[str, Any]:
    """Memory of this process and of two loader processes that draw names in the order of an epoch."""
    with Timed() as listing:
        files = find_images(root)
    with Timed() as fingerprint:
        files.fingerprint()
    with Timed() as ordering:
        order = epoch_order(0, 0, len(files))
    batches = (order[start : start + BATCH].tolist() for start in range(0, BATCHES * BATCH, BATCH))
    loading = load_in_workers(_Lengths(files), batches, workers=WORKERS, pin=False)  # type: ignore[arg-type]
    for _ in range(BATCHES - 2 * WORKERS):
        next(loading)
    memory = {
        "main": proportional(os.getpid())["Pss"],
        "workers": [proportional(process)["Pss"] for process in loading.processes],
    }
    loading.close()
    seconds = {"list": listing.seconds, "fingerprint": fingerprint.seconds, "order": ordering.seconds}
    return {**seconds, **memory}


class Timed:
    """Seconds that a block takes, by the clock and of this process's cores."""

    def __enter__(self) -> Timed:
        self._began = time.perf_counter(), time.process_time()
        return self

    def __exit__(self, *_: object) -> None:
        wall, cpu = time.perf_counter() - self._began[0], time.process_time() - self._began[1]
        self.seconds = {"wall": round(wall, 3), "cpu": round(cpu, 3)}


PARTS: dict[str, Callable[[Path], dict[str, Any]]] = {"pathlib": by_pathlib, "listed": listed, "drawn": drawn}


if __name__ == "__main__":
    main()
