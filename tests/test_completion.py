"""Tab completion: what bash offers, by its own `compgen`, behind the beginning of a command line."""

from __future__ import annotations

import shlex
import shutil
import subprocess

import pytest

from bestguess import cli
from bestguess.completion import flags_of, script_of

pytestmark = pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")


@pytest.fixture(scope="module")
def script() -> str:
    return script_of("bash", {name: flags_of(command) for name, command in cli.commands().items()})


def offered(script: str, *words: str) -> list[str]:
    """What is offered for the last of the words."""
    line = f"COMP_WORDS=({shlex.join(words)}); COMP_CWORD={len(words) - 1}"
    asked = "\n".join([script, line, "_bestguess", "printf '%s\\n' \"${COMPREPLY[@]}\""])
    done = subprocess.run(["bash", "-c", asked], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return done.stdout.split()


def test_commands_flags_and_values_are_offered(script):
    assert {"quickstart", "filters", "sweep", "help"} <= set(offered(script, "bestguess", ""))
    assert offered(script, "bestguess", "filt") == ["filters"]
    assert offered(script, "bestguess", "filters", "r") == ["report", "rollout"]
    assert offered(script, "bestguess", "filters", "train", "--lam") == ["--lambda"]
    assert offered(script, "bestguess", "filters", "train", "--told", "--no-told") == ["--no-told-statistics"]
    assert offered(script, "bestguess", "filters", "train", "--moduli", "") == ["attained", "bounded"]
    assert offered(script, "bestguess", "filters", "train", "--preset", "s") == ["small"]
    assert offered(script, "bestguess", "quickstart", "--st") == ["--steps"]
    assert offered(script, "bestguess", "sweep", "st") == ["status"]
    assert "--plan" in offered(script, "bestguess", "sweep", "eigenvalue", "--pl")
    assert offered(script, "bestguess", "sweep", "status", "--pl") == []


def test_a_file_is_completed_as_by_the_shell_itself(script):
    assert offered(script, "bestguess", "rolls", "test", "lag") == []
    assert "complete -o default" in script


def test_every_flag_that_is_offered_is_one(script):
    for name, command in cli.commands().items():
        hidden = {one for one in flags_of(command) if one.startswith("--no-")}
        assert all(one.startswith("--") and one == one.lower() for one in flags_of(command)), name
        assert all(one.replace("--no-", "--") in flags_of(command) for one in hidden)
