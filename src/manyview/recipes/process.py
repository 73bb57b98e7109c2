"""One of the processes that ``--devices`` starts: ``python -m manyview.recipes.process``."""

from __future__ import annotations

import pickle
import sys

from manyview.distributed.launcher import end_with_parent, report
from manyview.errors import UserError
from manyview.recipes.launch import pretrain
from manyview.runtime import keep_freed_memory, run_as_command


def main() -> int:
    """Run ``pretrain`` with the pickled arguments on the standard input.

    Returns:
        the exit status: 0, 2 after an error that is reported, 130 after Ctrl-C.
    """
    end_with_parent()
    run_as_command()
    keep_freed_memory(block=2**30, total=2**31)
    # The command that started it is the one that the run records and advises by.
    sys.argv, images, out, options = pickle.load(sys.stdin.buffer)
    try:
        pretrain(images, out, **options)
    except (UserError, OSError) as error:
        report(error)
        return 2
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
