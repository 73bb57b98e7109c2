"""Executes every jaxtyping annotation of the package under beartype, whatever test is run."""

import os

os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")

from jaxtyping import install_import_hook

_hook = install_import_hook("manyview", "beartype.beartype")
