"""What a backbone is worth: features, multi-label metrics, linear evaluation."""

from manyview.evaluation.comparison import compare, format_comparison
from manyview.evaluation.confidence import bootstrap, summarise
from manyview.evaluation.features import Progress, extract
from manyview.evaluation.knn import knn_evaluation
from manyview.evaluation.label_free import check_weights
from manyview.evaluation.label_free_table import format_check
from manyview.evaluation.linear import linear_evaluation
from manyview.evaluation.low_label import low_label_evaluation
from manyview.evaluation.metrics import multilabel_metrics, multilabel_report
from manyview.evaluation.table import format_table
from manyview.evaluation.thresholds import best_thresholds

__all__ = [
    "Progress",
    "best_thresholds",
    "bootstrap",
    "check_weights",
    "compare",
    "extract",
    "format_check",
    "format_comparison",
    "format_table",
    "knn_evaluation",
    "linear_evaluation",
    "low_label_evaluation",
    "multilabel_metrics",
    "multilabel_report",
    "summarise",
]
