"""Reduced-scale decoding: no view loses pixels by it, and the views stay where they were."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from manyview.config import BlockViewsConfig
from manyview.images import open_image
from manyview.views import largest_shrink, render_views, sample_views, shrink_crops
from tests.references.torchvision_views import PLAIN, photograph


@pytest.mark.parametrize(
    ("crop", "size", "expected"),
    [
        ((0, 0, 4000, 3000), 224, 8),
        ((0, 0, 2688, 2688), 224, 8),
        ((0, 0, 2687, 2688), 224, 4),
        ((10, 10, 1354, 1354), 224, 4),
        ((0, 0, 1800, 672), 224, 2),
        ((0, 0, 1800, 671), 224, 1),
        ((0, 0, 100, 4000), 224, 1),  # this view is larger than its crop already
        ((0, 0, 1, 1), 64, 1),
    ],
)
def test_every_crop_keeps_as_many_pixels_as_its_view_has(
    crop: tuple[int, int, int, int], size: int, expected: int
) -> None:
    assert largest_shrink([crop], size) == expected
    assert largest_shrink([(0, 0, 10_000, 10_000), crop], size) == expected


@pytest.mark.parametrize("size", [32, 64, 224])
@pytest.mark.parametrize("shape", [(4000, 3000), (1281, 963), (640, 480), (7000, 350)])
def test_sampled_crops_are_never_smaller_than_their_views(shape: tuple[int, int], size: int) -> None:
    for image in range(50):
        parameters = sample_views(BlockViewsConfig(), *shape, seed=0, epoch=0, image=image)
        shrink = largest_shrink((view.crop for view in parameters), size)
        decoded = (-(-shape[0] // shrink), -(-shape[1] // shrink))
        for before, view in zip(parameters, shrink_crops(parameters, shrink, decoded), strict=True):
            left, top, right, bottom = view.crop
            assert 0 <= left < right <= decoded[0]
            assert 0 <= top < bottom <= decoded[1]
            if shrink > 1:
                assert min(right - left, bottom - top) >= size
            else:
                assert view == before


def test_crops_are_scaled_and_the_rest_stays() -> None:
    (view,) = shrink_crops([PLAIN], 2, (40, 40))
    assert view.crop == (6, 2, 36, 29)
    assert view.block == PLAIN.block
    assert (view.flip, view.jitter, view.blur_sigma) == (PLAIN.flip, PLAIN.jitter, PLAIN.blur_sigma)


def encode(image: np.ndarray, **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=92, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("orientation", [1, 6])
def test_views_of_a_image_decoded_smaller_show_the_same(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    small = Image.fromarray(photograph(200, 150, seed=3)).resize((1600, 1200), Image.Resampling.BICUBIC)
    data = encode(np.asarray(small), **({"exif": exif} if orientation > 1 else {}))
    whole = open_image(data)
    width, height = whole.width, whole.height
    assert (width, height) == ((1600, 1200) if orientation == 1 else (1200, 1600))
    pixels, differences, shrinks = whole.decode(), [], set()
    for image in range(10):
        parameters = sample_views(BlockViewsConfig(), width, height, seed=1, epoch=0, image=image)
        shrink = largest_shrink((view.crop for view in parameters), 64)
        shrinks.add(shrink)
        reduced = open_image(data).decode(shrink)
        assert reduced.shape[:2] == (-(-height // shrink), -(-width // shrink))
        scaled = shrink_crops(parameters, shrink, (reduced.shape[1], reduced.shape[0]))
        expected = render_views(pixels, parameters, 64, renderer="reference").astype(float)
        differences.append(np.abs(render_views(reduced, scaled, 64) - expected).mean())
    assert shrinks & {4, 8}
    assert np.mean(differences) < 3
