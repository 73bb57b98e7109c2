"""Folder for a machine with a GPU and without network: sources, wheels and images, and the line to run there.

    python -m benchmarks.gpu.pack --out .gpu --photos DIR --train-labels FILE --val-labels FILE

The machine is expected to have PyTorch, torchvision, pytorch-lightning, timm, OpenCV and NumPy; the wheels are the
other packages that the steps need. Without --photos the steps use rendered scenes.
"""

from __future__ import annotations

import argparse
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.arguments import command_line

ROOT = Path(__file__).resolve().parents[2]
SOURCES = ("src", "benchmarks", "pyproject.toml", "setup.py")
WITH_DEPENDENCIES, ALONE = ("pydantic",), ("simplejpeg", "pycocotools")
PLATFORMS = ("manylinux_2_28_x86_64", "manylinux2014_x86_64")


def main(arguments: Sequence[str] | None = None) -> int:
    options = parse(arguments)
    if options.out.exists():
        shutil.rmtree(options.out)
    commit = copy_sources(options.out / "code")
    download(options.out / "wheels", options.python)
    words = ["python3", "-m", "benchmarks.gpu", "--minutes", f"{options.minutes:g}", "--out", "../results"]
    words += ["--wheels", "../wheels", "--commit", commit, *copy_photos(options, options.out / "photos")]
    size = sum(file.stat().st_size for file in options.out.rglob("*") if file.is_file()) / 2**20
    if size > options.limit:
        print(
            f"{options.out} has {size:.0f} MiB, more than the {options.limit:g} of --limit: give a folder of fewer or "
            "smaller images with --photos",
            file=sys.stderr,
        )
        return 2
    print(f"{options.out} has {size:.0f} MiB. There, run:\ncd {options.out.name}/code && {shlex.join(words)}")
    return 0


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = command_line(__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder to write; one of an earlier call is replaced")
    parser.add_argument("--photos", type=Path, help="folder of images")
    parser.add_argument("--train-labels", type=Path, help="their training labels")
    parser.add_argument("--val-labels", type=Path, help="their validation labels")
    parser.add_argument("--python", default="3.12", help="Python version of the machine")
    parser.add_argument("--limit", type=float, default=64, help="size of the folder in MiB at most")
    parser.add_argument("--minutes", type=float, default=12, help="time for all steps there")
    options = parser.parse_args(arguments)
    if len({bool(options.photos), bool(options.train_labels), bool(options.val_labels)}) > 1:
        parser.error("give --photos, --train-labels and --val-labels together")
    if options.out.exists() and not (options.out / "code").is_dir() and any(options.out.iterdir()):
        parser.error(f"--out {options.out} holds other files; name a new folder")
    return options


def copy_sources(folder: Path) -> str:
    """Write the sources of the last commit; return the commit."""
    archive = subprocess.run(["git", "archive", "HEAD", *SOURCES], cwd=ROOT, capture_output=True, check=True).stdout
    folder.mkdir(parents=True)
    # By the program: Python's own way to extract safely is not in all of 3.11.
    subprocess.run(["tar", "--extract", "--directory", folder], input=archive, check=True)
    # Compiled here, for any Python from 3.11; without it NumPy, PyTorch and OpenCV render the same.
    for kernel in ROOT.glob("src/**/_kernel.abi3.so"):
        shutil.copy(kernel, folder / kernel.relative_to(ROOT))
    shutil.rmtree(folder / "benchmarks/gpu/results", ignore_errors=True)
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, check=True, text=True)
    return head.stdout.strip()


def download(folder: Path, python: str) -> None:
    """Download the wheels for the machine's Python, newest versions."""
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--dest", str(folder), "--only-binary=:all:"]
    pip += ["--python-version", python, *(word for platform in PLATFORMS for word in ("--platform", platform))]
    subprocess.run([*pip, *WITH_DEPENDENCIES], check=True)
    subprocess.run([*pip, "--no-deps", *ALONE], check=True)


def copy_photos(options: argparse.Namespace, folder: Path) -> list[str]:
    """Copy images and labels, if there are any; return the options that name them."""
    if not options.photos:
        return []
    shutil.copytree(options.photos, folder / "images")
    named = ["--photos", "../photos/images"]
    for option, file in (("--train-labels", options.train_labels), ("--val-labels", options.val_labels)):
        # Not under its own name: both may have the same.
        copied = folder / f"{option[2:]}{file.suffix}"
        shutil.copy(file, copied)
        named += [option, f"../photos/{copied.name}"]
    return named


if __name__ == "__main__":
    sys.exit(main())
