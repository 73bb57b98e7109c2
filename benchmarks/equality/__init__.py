"""Whether two checkouts compute the same, to the bit: weights, features and figures of the same small commands.

The cases run ``python -m manyview`` of one checkout on images that this package draws itself, and what they leave in
files is kept as hashes and numbers. Nothing of the package under test is imported, so both may be of any layout.
"""
