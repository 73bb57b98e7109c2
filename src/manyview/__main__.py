"""``python -m manyview`` is the command ``manyview``."""

from manyview.cli import main

main()
