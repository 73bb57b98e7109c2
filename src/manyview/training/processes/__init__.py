"""A run's several processes: what they are compared by, and what depends on their number."""

from manyview.training.processes.facts import data_facts, start_facts
from manyview.training.processes.number import remarks_on_number

__all__ = ["data_facts", "remarks_on_number", "start_facts"]
