"""Images of many bands or of 16 bits as something to look at."""

from __future__ import annotations

import numpy as np
import pytest

from manyview.config import BlockViewsConfig
from manyview.report import show
from manyview.report.shown import BandDisplay


def ramp(bands: int, dtype: type = np.uint16) -> np.ndarray:
    """Band b rises from b * 100 to b * 100 + 200 over 201 columns."""
    return (np.arange(201)[None, :, None] + 100 * np.arange(bands)).astype(dtype).repeat(30, 0)


def test_three_bands_of_many_with_one_contrast() -> None:
    image = ramp(5)
    display = BandDisplay.of(image, (3, 1, 0))
    shown = image[..., [3, 1, 0]].astype(np.float64)
    low, high = np.percentile(shown, (1, 99))
    expected = np.clip((shown - low) / (high - low), 0, 1) * 255
    assert display(image).dtype == np.uint8
    np.testing.assert_allclose(display(image), expected, atol=0.51)
    assert display.words.startswith("bands 3, 1 and 0 of 5 are shown, as red, green and blue, with stretched contrast")


def test_the_first_band_in_gray_where_none_has_a_color() -> None:
    image = ramp(4)
    display = BandDisplay.of(image, None)
    shown = display(image)
    assert (shown == shown[..., :1]).all()
    assert shown[..., 0].min() == 0
    assert shown[..., 0].max() == 255
    np.testing.assert_allclose(shown[0, :, 0], np.clip((np.arange(201) - 2) / 196, 0, 1) * 255, atol=0.51)
    assert display.words.startswith("band 0 of 4 is shown, in gray, with stretched contrast")


def test_views_have_the_contrast_of_their_image() -> None:
    image = ramp(2)
    display = BandDisplay.of(image, None)
    np.testing.assert_array_equal(display(image[None, :10, 50:60])[0], display(image)[:10, 50:60])


@pytest.mark.parametrize("value", [0, 77, 65535])
def test_an_image_of_one_value_is_shown_without_contrast(value: int) -> None:
    image = np.full((9, 7, 3), value, dtype=np.uint16)
    assert len(np.unique(BandDisplay.of(image, (0, 1, 2))(image))) == 1


def test_ordinary_images_are_shown_as_they_are() -> None:
    image = np.random.default_rng(0).integers(60, 90, (40, 50, 3), dtype=np.uint8)
    views = BlockViewsConfig(size=16)
    plain = show("a", image, views, seed=0, epoch=0, index=0)
    assert plain.bands is None
    np.testing.assert_array_equal(plain.picture, image)
    swapped = show("a", image, views, seed=0, epoch=0, index=0, rgb=(2, 1, 0))
    assert swapped.bands is not None
    assert np.ptp(swapped.picture) == 255


def test_captions_name_nothing_that_is_not_done() -> None:
    """Without colors, neither jitter nor grayscale nor solarization is applied."""
    config = BlockViewsConfig(size=16, flip=0, jitter=1, grayscale=1, solarize=(1, 1), blur=(0, 0))
    shown = show("a", ramp(4), config, seed=0, epoch=0, index=0, rgb=None)
    assert set(shown.views.captions) == {"only cropped"}
    assert [pixels.shape for pixels in shown.views.pixels] == [(16, 16, 3)] * 8
