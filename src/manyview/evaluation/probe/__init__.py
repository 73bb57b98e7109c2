"""Low-label evaluation: linear classifiers on frozen features."""
