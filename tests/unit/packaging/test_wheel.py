"""The package as it is installed: sdist, wheel from the sdist, a fresh environment, and the README's first lines."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

import manyview

ROOT = Path(__file__).parents[3]
FILES = ("pyproject.toml", "setup.py", "README.md", "LICENSE", "src")
BUILT = "from setuptools import build_meta; build_meta.build_sdist('dist')"
USED = """
import manyview, manyview.recipes.reproduce.tables as tables, inspect
from importlib.resources import files
from manyview.recipes import RECIPES
package = files("manyview")
assert (package / "py.typed").is_file() and (package / "__init__.pyi").is_file()
data = [path for folder in ("tables", "scales") for path in (package / "recipes" / folder).iterdir()]
from manyview.views.render import kernel
count = sum(path.name.endswith(".toml") for path in data)
print(manyview.__version__, package, kernel.IS_BUILT, count, "paper" in RECIPES, flush=True)
import os
os._exit(0)  # without a search of all objects for garbage
"""


def run(*words: str | Path, cwd: Path, **variables: str) -> str:
    """A process without this checkout on its path."""
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")}
    environment |= variables
    done = subprocess.run([*map(str, words)], cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of an unpacked sdist of a copy of the sources, so that nothing is written beside them."""
    work = tmp_path_factory.mktemp("build")
    copy = work / "copy"
    copy.mkdir()
    for name in FILES:
        if (ROOT / name).is_dir():
            shutil.copytree(
                ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info", "*.so")
            )
        else:
            shutil.copy(ROOT / name, copy)
    run(sys.executable, "-c", BUILT, cwd=copy)
    [sdist] = (copy / "dist").iterdir()
    assert sdist.name == f"manyview-{manyview.__version__}.tar.gz"
    run("tar", "--extract", "--file", sdist, cwd=work)
    options = ("--no-deps", "--no-build-isolation", "--no-index", "--quiet")
    run(sys.executable, "-m", "pip", "wheel", *options, "--wheel-dir", work, work / sdist.name[:-7], cwd=work)
    [made] = work.glob("*.whl")
    return made


def test_the_wheel_holds_the_package_alone(wheel: Path) -> None:
    platform = sysconfig.get_platform().replace("-", "_").replace(".", "_")
    assert wheel.name == f"manyview-{manyview.__version__}-cp311-abi3-{platform}.whl"
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        about = archive.read(f"manyview-{manyview.__version__}.dist-info/METADATA").decode()
    assert {name.split("/")[0] for name in names} == {"manyview", f"manyview-{manyview.__version__}.dist-info"}
    sources = {
        str(path.relative_to(ROOT / "src"))
        for path in (ROOT / "src/manyview").rglob("*")
        if path.suffix not in (".pyc", ".c", ".h", ".so")
    }
    expected = {name for name in sources if (ROOT / "src" / name).is_file()}
    assert expected - set(names) == set()
    assert "License-Expression: Apache-2.0" in about
    assert "pre-trains a vision backbone" in about


def test_the_wheel_runs_where_it_is_installed(wheel: Path, tmp_path: Path) -> None:
    fresh = tmp_path / "venv"
    run(sys.executable, "-m", "venv", "--without-pip", fresh, cwd=tmp_path)
    python = fresh / "bin" / "python"
    options = ("--no-deps", "--no-index", "--quiet", "--disable-pip-version-check")
    run(sys.executable, "-m", "pip", "--python", python, "install", *options, wheel, cwd=tmp_path)
    [packages] = (fresh / "lib").glob("python*/site-packages")
    # Dependencies are those of this environment; its .pth files, such as that of an editable manyview, are not obeyed.
    (packages / "dependencies.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    command = fresh / "bin" / "manyview"
    assert run(command, "--version", cwd=tmp_path).strip() == manyview.__version__
    assert "pretrain" in run(command, "--help", cwd=tmp_path)
    version, where, has_kernel, count, has_recipes = run(python, "-c", USED, cwd=tmp_path).split()
    assert (version, has_recipes) == (manyview.__version__, "True")
    assert Path(where).is_relative_to(fresh)
    assert has_kernel == str(shutil.which("cc") is not None)
    assert int(count) == len(list((ROOT / "src/manyview/recipes").glob("*/*.toml")))


def test_without_a_compiler_all_but_the_kernel_is_installed(tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    sources = Path("src/manyview/views/render/native")
    shutil.copytree(ROOT / sources, copy / sources)
    for name in FILES[:-1]:
        shutil.copy(ROOT / name, copy)
    (copy / "src/manyview/__init__.py").touch()
    options = ("--no-deps", "--no-build-isolation", "--no-index", "--quiet")
    run(sys.executable, "-m", "pip", "wheel", *options, "--wheel-dir", tmp_path, copy, cwd=tmp_path, CC="false")
    [made] = tmp_path.glob("*.whl")
    with zipfile.ZipFile(made) as archive:
        names = archive.namelist()
    assert "manyview/__init__.py" in names
    assert not [name for name in names if "_kernel" in name and not name.endswith(".c")]
