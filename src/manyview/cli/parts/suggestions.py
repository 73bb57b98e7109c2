"""What was meant by an option, a setting or a choice that a command does not know."""

from __future__ import annotations

import re
from typing import Any

from manyview.options.nearest import nearest

_NO_CHOICE = re.compile(r"'(?P<given>[^']*)' is not one of (?P<choices>'.*')")


def with_suggestion(message: str, error: Any) -> str:
    """The message of a usage error, with the option or the choice that was meant where one is near.

    Args:
        message: of the error.
        error: as typer raises it.
    """
    given = getattr(error, "option_name", None)
    context = error.ctx
    if given is not None and context is not None:
        return f"No such option: {given}{_option(given.lstrip('-'), context)}"
    wrong = _NO_CHOICE.search(message)
    close = nearest(wrong["given"], re.findall(r"'([^']*)'", wrong["choices"])) if wrong else []
    return f"{message}; did you mean {close[0]}?" if close else message


def _option(given: str, context: Any) -> str:
    """The verb's option that was meant, or else its setting."""
    flags = {flag.lstrip("-"): flag for each in context.command.params for flag in each.opts if flag.startswith("-")}
    close = nearest(given.replace("-", "_"), [name.replace("-", "_") for name in flags])
    if close:
        return f"; did you mean {flags[close[0].replace('_', '-')]}?"
    if "set" in flags:
        from manyview.config.resolve import valid_keys

        keys = nearest(given.replace("-", "_"), valid_keys())
        if keys:
            return f"; did you mean the setting {' or '.join(f'--set {key}=VALUE' for key in keys[:2])}?"
    return ""
