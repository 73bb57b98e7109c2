"""Logistic regression for every class at once, with regularization chosen by cross-validation."""
