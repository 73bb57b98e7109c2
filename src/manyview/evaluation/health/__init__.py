"""Checks of a backbone without labels: collapse, similarity of views, diagnosis."""
