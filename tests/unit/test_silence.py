"""What is kept quiet, and that it is heard again."""

from __future__ import annotations

import logging
import warnings

import pytest

from manyview.silence import silenced


def test_only_errors_of_that_library_are_heard(caplog: pytest.LogCaptureFixture) -> None:
    library = logging.getLogger("some.library")
    library.setLevel(logging.INFO)
    with caplog.at_level(logging.INFO):
        with silenced("some.library"):
            warnings.warn("advice", UserWarning, stacklevel=1)  # an error in these tests
            library.warning("within")
            library.error("broken")
            logging.getLogger("another").warning("another's")
        library.info("after")
    assert [record.message for record in caplog.records] == ["broken", "another's", "after"]
    with pytest.raises(UserWarning, match="advice"):
        warnings.warn("advice", UserWarning, stacklevel=1)


def test_the_level_comes_back_after_an_error() -> None:
    library = logging.getLogger("some.library")
    library.setLevel(logging.INFO)
    with pytest.raises(ValueError, match="failed"), silenced("some.library"):
        raise ValueError("failed")
    assert library.level == logging.INFO
