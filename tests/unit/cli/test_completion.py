"""Completion in shells: verbs, options and choices, without loading what computes."""

from __future__ import annotations

import sys

import pytest

from manyview.cli.main import main


@pytest.fixture(autouse=True)
def called_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["manyview"])
    monkeypatch.setattr(sys.modules["__main__"], "__package__", None)  # not python -m pytest


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("manyview pretr", {"pretrain"}),
        ("manyview check", {"check", "check-weights"}),
        ("manyview pretrain --backb", {"--backbone"}),
        ("manyview linear --diff", {"--difficult"}),
        ("manyview linear --difficult i", {"ignore"}),
        ("manyview pretrain --resume --epo", {"--epochs"}),
    ],
)
def test_bash_is_given_what_can_follow(
    words: str, found: set[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("_MANYVIEW_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", words)
    monkeypatch.setenv("COMP_CWORD", str(len(words.split()) - 1))
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code in (0, None)
    assert set(capsys.readouterr().out.split()) == found


def test_the_script_for_a_shell_is_shown(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("_MANYVIEW_COMPLETE", "source_bash")
    with pytest.raises(SystemExit):
        main()
    assert "complete -o default -F _manyview_completion manyview" in capsys.readouterr().out
