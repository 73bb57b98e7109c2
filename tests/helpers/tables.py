"""What tests of printed tables have in common."""

from __future__ import annotations


def cells(line: str) -> list[str]:
    """What stands in a row of a table that rich has drawn."""
    return [cell.strip() for cell in line.strip("│ ").split("│")]


def percent(figure: float) -> str:
    """A share as tables show it, in no more than four characters."""
    return "100" if f"{100 * figure:.1f}" == "100.0" else f"{100 * figure:.1f}"
