"""Sections of the page, each from plain data to HTML."""
