"""What manyview is measured by. Each module is a command, run from the root of the repository; most write JSON.

python -m benchmarks.views          views a second on one core, beside other libraries
python -m benchmarks.parity         how far each renderer is from the reference
python -m benchmarks.frequencies    how often each random choice is made
python -m benchmarks.loader         training with real loading against training on a ready tensor
python -m benchmarks.quality        the recipes side by side
python -m benchmarks.equality       whether two checkouts compute the same weights and figures, to the bit
python -m benchmarks.structure      files, functions, names and import cycles of one checkout, or of two side by side
python -m benchmarks.gpu            all that needs a GPU
"""
