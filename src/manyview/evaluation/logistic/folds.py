"""Folds of images with several labels, the positives of every class spread over them."""

from __future__ import annotations

import numpy as np
from jaxtyping import Int64, UInt8


def stratified_folds(
    targets: UInt8[np.ndarray, "images classes"], folds: int, seed: int
) -> Int64[np.ndarray, " images"]:
    """The fold of each image, such that every fold has its share of the images and of the positives of every class.

    Iterative stratification (Sechidis, Tsoumakas and Vlahavas, ECML PKDD 2011) with the classes in a fixed order: the
    images are shuffled; for each class, the rarest first, its images that have no fold yet are dealt one by one to the
    fold with the fewest positives of the class, of equal ones to that with the fewest images. Images without
    positives come last. A class with at least as many positives as there are folds is rarely absent from one.

    Args:
        targets: 1 where an image shows the class, else 0 (also where the label is ignored).
        folds: their number.
        seed: of the order of the images.
    """
    order = np.random.default_rng(seed).permutation(len(targets))
    fold_of = np.full(len(targets), -1, dtype=np.int64)
    positives, images = np.zeros((folds, targets.shape[1]), dtype=np.int64), np.zeros(folds, dtype=np.int64)

    def deal(image: int, wanted: Int64[np.ndarray, " folds"]) -> None:
        fold = int(np.lexsort((images, wanted))[0])
        fold_of[image] = fold
        positives[fold] += targets[image]
        images[fold] += 1

    for column in np.argsort(targets.sum(axis=0, dtype=np.int64), kind="stable").tolist():
        for image in order[(targets[order, column] == 1) & (fold_of[order] < 0)].tolist():
            deal(image, positives[:, column])
    for image in order[fold_of[order] < 0].tolist():
        deal(image, images)
    return fold_of
