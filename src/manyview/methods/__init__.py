"""Methods: one paper a file, each a module from a batch of views to its loss."""

from manyview.methods.simsiam import SimSiam

__all__ = ["SimSiam"]
