"""Whether a run is resumed with the images, labels and hardware that it was started with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from manyview.config import PretrainConfig
from manyview.errors import UserError
from manyview.images import ImageFiles
from manyview.images.loading import worker_count
from manyview.images.sources.changes import RECORD, changes_since, hash_images, read_record, record_images
from manyview.runs import RunFolder
from manyview.runs.provenance import differences
from manyview.training.settle import Hardware
from manyview.training.targets import Targets


def check_contents(
    config: PretrainConfig, folder: RunFolder, files: ImageFiles, hardware: Hardware, *, resume: bool
) -> str:
    """Note times of change and contents of a new run's images; of a resumed one, say in a sentence what has changed.

    What was noted is noted again if it is lost.

    Raises:
        UserError: contents have changed.
    """
    data = config.data
    contents = hash_images(files, max(1, worker_count(data.workers))) if data.content_hashes else None
    if resume and (record := read_record(folder.path, files)) is not None:
        return changes_since(record, folder.path, files, contents)
    if hardware.is_main:
        record_images(folder.path, files, contents)
    if not resume:
        return ""
    return (
        f"Warning: {folder.path / RECORD} was missing or damaged: changes of images at the same size before this start "
        "go unnoticed; those after it do not."
    )


def check_same_hardware(folder: RunFolder, about: Mapping[str, Any], hardware: Hardware) -> None:
    """Check device and precision of a resumed run, which ``auto`` may resolve differently and weights depend on.

    The number of processes may change (``training.processes``).

    Raises:
        UserError: one of them is another.
    """
    now = {key: value for key, value in hardware.describe().items() if key != "processes"}
    changed = [f"{key} was {about.get(key)}, now {value}" for key, value in now.items() if about.get(key) != value]
    if changed:
        raise UserError(
            f"{folder.path} was started on other hardware: {'; '.join(changed)}; resume it where it ran, "
            "or start a new run in another folder"
        )


def check_same_images(folder: RunFolder, about: Mapping[str, Any], fingerprint: str, targets: Targets | None) -> None:
    """Check that a resumed run has the images and labels that it was started with, by their fingerprints.

    Raises:
        UserError: they are others.
    """
    data = about.get("data", {})
    if targets is not None and data.get("labels_sha256") != targets.fingerprint:
        raise UserError(
            f"the labels are not those that {folder.path} was started with: data.labels was changed; start a new run"
        )
    if data.get("fingerprint") != fingerprint:
        raise UserError(
            f"the images are not those that {folder.path} was started with ({data.get('photographs')} then): "
            "files were added, removed or changed; start a new run"
        )


def check_same_labels(folder: RunFolder, about: Mapping[str, Any], described: dict[str, Any]) -> None:
    """Check that the backbone is measured on the images and labels that it was measured on at the start.

    Raises:
        UserError: it is not; the entries of ``Instrument.describe`` that differ are listed.
    """
    if changed := differences(about.get("quality") or {}, described):
        raise UserError(
            f"what the backbone of {folder.path} is measured on has changed since the run was started: "
            f"{'; '.join(changed)}; resume it with the same labels and images"
        )
