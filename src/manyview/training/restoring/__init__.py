"""Files of a resumed run that are written again from its checkpoint where they are lost or damaged."""

from manyview.training.restoring.weights import mend_weights

__all__ = ["mend_weights"]
