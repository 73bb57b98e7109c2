"""Whole training runs beside those that other libraries' documentation shows: how fast, and how good after how long."""
