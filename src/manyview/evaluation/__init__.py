"""What a backbone is worth: features, multi-label metrics, linear evaluation."""

from manyview.evaluation.features import Progress, extract
from manyview.evaluation.linear import linear_evaluation
from manyview.evaluation.metrics import multilabel_metrics
from manyview.evaluation.table import format_table

__all__ = ["Progress", "extract", "format_table", "linear_evaluation", "multilabel_metrics"]
