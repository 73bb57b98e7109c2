"""Benchmarks and checks on a GPU: one command that writes a JSON file for each step.

    python -m benchmarks.gpu --out DIR [STEP ...] [--photos DIR] [--wheels DIR] [--tiny]

Each step runs in a process of its own, for as long as its limit allows, and writes its results after each of its
parts, so a step that fails, hangs or is cut off loses nothing. With --tiny every step runs to its end on a CPU,
with sizes too small for meaningful figures, to test the suite without a GPU.

A step is a module in ``steps`` with a function ``run(job)``, and a line in ``steps.LIMITS``.
"""
