"""The compiled kernel gives the bytes of the renderer that stands in where it is missing, and keeps to its buffers."""

from __future__ import annotations

import ast
import importlib.util
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from manyview import views
from manyview.config import BlockViewsConfig
from manyview.views import render, sample_views
from manyview.views.render import kernel, opencv
from tests.references.torchvision_views import PLAIN, photograph

pytestmark = pytest.mark.skipif(not kernel.IS_BUILT, reason="the kernel is not built")

WILD = {"brightness": 0.95, "contrast": 0.95, "saturation": 0.95, "hue": 0.5, "solarize": (0.3, 0.3)}


@pytest.mark.parametrize("part", range(8))
def test_random_views_have_the_same_bytes(part: int) -> None:
    """1,600 views with wide ranges, of images and sizes that are no multiples of anything."""
    random = np.random.default_rng(part)
    for number in range(25):
        width, height, size = (int(side) for side in random.integers((1, 1, 1), (200, 200, 110)))
        noise = random.integers(0, 256, (height, width, 3), dtype=np.uint8)
        image = photograph(width, height, seed=number) if number % 2 else noise
        config = BlockViewsConfig(blur_sigma=(0.05, 4.0), grayscale=0.3, **WILD)
        drawn = sample_views(config, width, height, seed=part, epoch=0, image=number)
        views, expected = (module.render_views(image, drawn, size) for module in (kernel, opencv))
        np.testing.assert_array_equal(views, expected, err_msg=f"{width} x {height} to {size}")


@pytest.mark.skipif(shutil.which("cc") is None, reason="no compiler")
def test_the_code_for_other_processors_has_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """This processor's vector instructions left out; without optimization, which must not matter; strip by strip."""
    sources = Path(kernel.__file__).parent / "native"
    setup = ast.parse((Path(__file__).parents[4] / "setup.py").read_text())
    [flags] = [
        node.value for node in setup.body if isinstance(node, ast.Assign) and "FLAGS" in ast.unparse(node.targets)
    ]
    usual = [word for word in eval(ast.unparse(flags)) if word != "-O3"]
    for choice in ("-O2", "-DSHARED_BYTES=1"):
        library = tmp_path / f"_kernel{choice}.abi3.so"
        words = [*usual, choice, "-DPORTABLE", "-shared", "-fPIC", f"-I{sysconfig.get_paths()['include']}"]
        subprocess.run(["cc", *words, str(sources / "kernel.c"), "-o", str(library)], check=True)
        monkeypatch.setattr(kernel, "render", load(library).render)
        test_random_views_have_the_same_bytes(9)
        tall = photograph(30, 700)
        drawn = sample_views(BlockViewsConfig(), 30, 700, seed=0, epoch=0, image=0)
        np.testing.assert_array_equal(kernel.render_views(tall, drawn, 24), opencv.render_views(tall, drawn, 24))


def load(library: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("_kernel", library)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_scale_has_pytorchs_weights() -> None:
    """Rows of up to 400 pixels to views of six sizes, up and down."""
    row = np.random.default_rng(0).integers(0, 256, (1, 400, 3), dtype=np.uint8)
    for size in (1, 7, 32, 64, 96, 224):
        for width in range(1, 401, 3):
            crop = [PLAIN.__class__(PLAIN.block, (0, 0, width, 1), False, None, False, None, False)]
            expected = opencv.crop_views(row, crop, size)[0, :, :1]
            np.testing.assert_array_equal(kernel.crop_views(row, crop, size)[0, :, :1], expected, err_msg=f"{width}")


def test_all_colors_turn_alike() -> None:
    """A quarter of a million colors through the whole circle of hues, where most roundings are."""
    levels = np.array([0, 1, 2, 3, *range(7, 250, 4), 253, 254, 255], dtype=np.uint8)
    image = np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(-1, 68, 3)[:4624].reshape(68, -1, 3)
    side = min(image.shape[:2])
    image = np.ascontiguousarray(image[:side, :side])
    for hue in np.linspace(-0.5, 0.5, 41):
        jitter = opencv.ColorJitter(("hue", "saturation"), 1.0, 1.0, 1.37, float(hue))
        whole = [PLAIN.__class__(PLAIN.block, (0, 0, side, side), False, jitter, False, None, False)]
        views, expected = (module.render_views(image, whole, side) for module in (kernel, opencv))
        np.testing.assert_array_equal(views, expected)


def arguments() -> dict[str, Any]:
    numbers = np.zeros((1, 12), dtype=np.int32)
    numbers[0, :8] = (0, 0, 4, 3, 0, 0, 0, -1)
    return {
        "image": np.zeros((3, 4, 3), dtype=np.uint8), "width": 4, "height": 3, "numbers": numbers,
        "strengths": np.ones((1, 4), dtype=np.float32), "kernels": np.full((1, 1), 256, dtype=np.uint16),
        "views": np.empty((1, 3, 5, 5), dtype=np.uint8), "count": 1, "size": 5, "taps": 1, "augment": True,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("width", 5), ("height", 0), ("count", 2), ("count", 0), ("size", 6), ("taps", 2), ("size", -1),
        ("strengths", np.ones((1, 3), dtype=np.float32)), ("image", np.zeros((3, 3, 3), dtype=np.uint8)),
        *(("numbers", (index, wrong)) for index, wrong in
          [(0, -1), (1, -1), (2, 5), (3, 4), (0, 4), (1, 3), (7, 1), (7, -2), (8, 5), (11, -1)]),
    ],
)  # fmt: skip
def test_what_would_leave_the_buffers_is_refused(name: str, value: Any) -> None:
    given = arguments()
    kernel.render(*given.values())
    if name == "numbers":
        given[name][0, value[0]] = value[1]
    else:
        given[name] = value
    with pytest.raises(ValueError, match=r"size|image|numbers|strengths|kernels|views|crop|kernel|operation"):
        kernel.render(*given.values())


def test_without_the_kernel_the_other_renderer_is_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where no compiler was at hand: the import fails."""
    assert (kernel.IS_BUILT, render.fast) == (True, kernel)
    monkeypatch.setitem(sys.modules, "manyview.views.render._kernel", None)
    for name in ("manyview.views.render", "manyview.views.render.kernel"):
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(views, "render", render)  # restored after the import below has replaced it
    without = importlib.import_module("manyview.views.render")
    assert (without.kernel.IS_BUILT, without.fast.__name__) == (False, opencv.__name__)
    image, drawn = photograph(60, 50), sample_views(BlockViewsConfig(), 60, 50, seed=0, epoch=0, image=0)
    np.testing.assert_array_equal(without.render_views(image, drawn, 32), render.render_views(image, drawn, 32))
