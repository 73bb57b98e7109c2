"""Multi-label metrics, their thresholds, and their confidence intervals."""
