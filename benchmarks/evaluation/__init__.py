"""Evaluation: what backbones are worth by several instruments, and what extracting features costs."""
