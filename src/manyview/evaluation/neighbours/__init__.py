"""Nearest-neighbor retrieval of images or blocks with frozen features."""
