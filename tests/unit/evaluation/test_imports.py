"""What importing the evaluations does not bring along, as it is slow or may not be installed."""

from __future__ import annotations

import subprocess
import sys

HEAVY = ("matplotlib", "pandas", "pyarrow", "sklearn")


def test_importing_evaluation_is_light() -> None:
    code = f"import sys, manyview.evaluation; print([name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
