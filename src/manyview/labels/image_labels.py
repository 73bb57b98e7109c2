"""Which classes each image shows."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt8


@dataclass(frozen=True)
class ImageLabels:
    """Which classes each image shows.

    Attributes:
        names: images, relative to their folder, in the order of the file they come from.
        classes: names of the classes, in the order of the columns.
        targets: 1 where the image shows the class, else 0.
        ignored: 1 where the image shows nothing of the class but "difficult" objects, so that neither 1 nor 0 would be
            right: to be left out of losses and metrics. Its target is 0 there. None if there is no such label.
        skipped: what was left out because of a problem, a sentence each.
    """

    names: tuple[str, ...]
    classes: tuple[str, ...]
    targets: UInt8[np.ndarray, "images classes"]
    ignored: UInt8[np.ndarray, "images classes"] | None = None
    skipped: tuple[str, ...] = ()

    def fingerprint(self) -> str:
        """SHA-256, in hexadecimal, over all but ``skipped``: the same labels give the same from every format."""
        digest = hashlib.sha256(json.dumps([self.names, self.classes]).encode())
        digest.update(self.targets.tobytes())
        if self.ignored is not None:
            digest.update(self.ignored.tobytes())
        return digest.hexdigest()
