from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageFilter

from manyview.views.render.blur_kernels import blur_kernels, box_radii

SIGMAS = np.array([0.1, 0.5, 1.0, 1.4, 1.5, 2.0, 3.7, 12.0])


def test_a_kernel_has_the_variance_asked_for() -> None:
    """Three boxes of a third of it each; the extended box was made so that this holds exactly."""
    kernels = blur_kernels(box_radii(SIGMAS))
    places = np.arange(kernels.shape[1]) - kernels.shape[1] // 2
    np.testing.assert_allclose(kernels.sum(axis=1), 1, rtol=1e-12)
    np.testing.assert_allclose((kernels * places**2).sum(axis=1), SIGMAS**2, rtol=1e-9)
    np.testing.assert_allclose(kernels, kernels[:, ::-1], rtol=1e-12)
    assert (kernels >= 0).all()


@pytest.mark.parametrize("sigma", [0.42, 0.9, 1.7, 4.0])
def test_a_kernel_is_what_pillow_makes_of_a_step(sigma: float) -> None:
    step = np.zeros((1, 101), dtype=np.uint8)
    step[:, 50:] = 255
    blurred = np.asarray(Image.fromarray(step).filter(ImageFilter.GaussianBlur((sigma, 0))))[0]
    (kernel,) = blur_kernels(box_radii(np.array([sigma])))
    expected = np.convolve(np.pad(step[0].astype(float), len(kernel) // 2, mode="edge"), kernel, mode="valid")
    np.testing.assert_allclose(blurred, expected, atol=1.6)


def test_rows_are_as_wide_as_the_widest_needs() -> None:
    assert blur_kernels(box_radii(np.array([0.1, 0.5]))).shape == (2, 7)
    together = blur_kernels(box_radii(np.array([0.5, 2.0])))
    assert together.shape == (2, 13)
    np.testing.assert_array_equal(together[0, [0, 1, 2, -1, -2, -3]], 0)
    np.testing.assert_allclose(together[0, 3:-3], blur_kernels(box_radii(np.array([0.5])))[0], rtol=1e-12)
