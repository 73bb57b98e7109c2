"""Pickles of unknown origin: followed before they are read, and read without executing anything."""
