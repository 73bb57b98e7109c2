"""What a backbone is worth: features, multi-label metrics, linear evaluation."""

from manyview.evaluation.comparison import compare, format_comparison
from manyview.evaluation.confidence import bootstrap, summarise
from manyview.evaluation.embedding import StoredFeatures, embed, format_written, read_features
from manyview.evaluation.features import extract
from manyview.evaluation.knn import knn_evaluation
from manyview.evaluation.label_free import check_weights
from manyview.evaluation.label_free_table import format_check
from manyview.evaluation.linear import linear_evaluation
from manyview.evaluation.low_label import low_label_evaluation
from manyview.evaluation.metrics import multilabel_metrics, multilabel_report
from manyview.evaluation.neighbours import nearest_neighbours
from manyview.evaluation.table import format_table
from manyview.evaluation.thresholds import best_thresholds
from manyview.runs.progress import Progress

__all__ = [
    "Progress",
    "StoredFeatures",
    "best_thresholds",
    "bootstrap",
    "check_weights",
    "compare",
    "embed",
    "extract",
    "format_check",
    "format_comparison",
    "format_table",
    "format_written",
    "knn_evaluation",
    "linear_evaluation",
    "low_label_evaluation",
    "multilabel_metrics",
    "multilabel_report",
    "nearest_neighbours",
    "read_features",
    "summarise",
]
