"""The one compiled part, which is left out where no compiler takes it; everything else is in pyproject.toml."""

from pathlib import Path

from setuptools import Extension, setup

SOURCES = Path("src/manyview/views/render/native")

# The code has whole numbers and single operations of IEEE 754 only: with these flags the bytes do not depend on the
# compiler. That there are no infinities and no signed zeros lets it vectorize minima and maxima, and changes no value.
FLAGS = [
    *("-std=c99", "-O3", "-ffp-contract=off", "-fno-trapping-math", "-fno-math-errno"),
    *("-fno-signed-zeros", "-ffinite-math-only"),
]

setup(
    ext_modules=[
        Extension(
            "manyview.views.render._kernel",
            [str(SOURCES / "kernel.c")],
            depends=[str(path) for path in sorted(SOURCES.glob("*.h"))],
            extra_compile_args=FLAGS,
            py_limited_api=True,
            optional=True,
        )
    ],
    options={"bdist_wheel": {"py_limited_api": "cp311"}},
)
