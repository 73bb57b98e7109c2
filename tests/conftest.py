"""Executes every jaxtyping annotation of the package under beartype, whatever test is run."""

import os

os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
# Several test processes share the cores; threads that wait for each other would take many times as long.
os.environ.setdefault("OMP_NUM_THREADS", "1")

from jaxtyping import install_import_hook

_hook = install_import_hook("manyview", "beartype.beartype")
