"""The page's code and commands run."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from bestguess import cli

PAGE = (Path(__file__).parents[2] / "docs" / "rolls.md").read_text(encoding="utf-8")


def test_the_python_on_the_page():
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    names: dict = {}
    exec(code, names)
    assert names["values"].shape == (1000,)
    assert names["log_p"].shape == (1000, 64)


def test_the_transcript_on_the_page(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    ((line, output),) = re.findall(r"```\n\$ (.*?)\n(.*?)```", PAGE, re.DOTALL)
    for command in line.split("&&"):
        with pytest.raises(SystemExit) as stop:
            cli.main(shlex.split(command)[1:])
        assert not stop.value.code
    assert capsys.readouterr().out.split() == output.split()


def test_every_source_is_on_the_page():
    from bestguess.rolls.sources import SOURCES

    for name in SOURCES:
        assert f"`{name}`" in PAGE
