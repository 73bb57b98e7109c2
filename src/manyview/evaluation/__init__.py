"""Evaluation of backbones: features, multi-label metrics, linear, kNN and low-label evaluation, comparison."""

from manyview.evaluation.compare import compare, format_comparison
from manyview.evaluation.embed import StoredFeatures, embed, format_written, read_features
from manyview.evaluation.features.extract import extract
from manyview.evaluation.health.check import check_weights
from manyview.evaluation.knn import knn_evaluation
from manyview.evaluation.linear.evaluate import linear_evaluation
from manyview.evaluation.metrics.bootstrap import bootstrap, summarize
from manyview.evaluation.metrics.decisions import best_thresholds
from manyview.evaluation.metrics.multilabel import multilabel_metrics, multilabel_report
from manyview.evaluation.neighbours.search import nearest_neighbours
from manyview.evaluation.probe.evaluate import low_label_evaluation
from manyview.evaluation.tables import format_check, format_table
from manyview.runs.progress import Progress

summarise = summarize  # the earlier name

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
    "summarize",
]
