"""Files of a resumed run that are written again from its checkpoint, or as they were made, where they are lost."""

from manyview.training.restoring.initial import initial_again
from manyview.training.restoring.weights import mend_weights

__all__ = ["initial_again", "mend_weights"]
