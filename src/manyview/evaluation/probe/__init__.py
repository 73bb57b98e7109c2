"""Evaluation with few labels: simple classifiers on frozen features."""
