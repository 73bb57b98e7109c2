"""Pickles of other programs: followed before they are read, and read without executing anything."""
