"""start_sweep.sh where there is no Slurm; with one: test_slurm.py."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from bestguess.sweep.ledger import Ledger
from tests.sweep.conftest import ROOT, toy_yaml

SCRIPT = ROOT / "start_sweep.sh"


@pytest.fixture
def environment(tmp_path, marks):
    """An environment without Slurm: of the usual programs only what the script needs."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("bash", "dirname", "date", "sed", "git", "mkdir", "env"):
        (programs / name).symlink_to(shutil.which(name))
    bestguess = Path(sys.executable).parent / "bestguess"
    return os.environ | {"PATH": str(programs), "PYTHONPATH": str(ROOT), "BESTGUESS": str(bestguess)}


def start(environment, *words, script=SCRIPT) -> subprocess.CompletedProcess:
    return subprocess.run(
        [str(script), *map(str, words)], env=environment, capture_output=True, text=True, timeout=240
    )  # fmt: skip


def test_without_slurm_it_trains_here_and_goes_on_by_id(environment, tmp_path):
    path = toy_yaml(tmp_path, train__first_seed=[0, 1], fault=["", "raise-once"])
    done = start(environment, path, "--jobs", "1")
    assert done.returncode == 1, done.stderr
    assert "no Slurm here: 1 worker(s) on this machine" in done.stdout
    [folder] = (tmp_path / "runs" / "sweeps").iterdir()
    assert Ledger(folder).status().done == 2
    done = start(environment, folder.name)
    assert done.returncode == 0, done.stderr
    assert Ledger(folder).status().complete


def test_a_test_of_a_sweep_trains_so_many_runs(environment, tmp_path):
    path = toy_yaml(tmp_path, train__first_seed=[0, 1, 2])
    done = start(environment, path, "--test", "1")
    assert done.returncode == 0, done.stderr
    [folder] = (tmp_path / "runs" / "sweeps").iterdir()
    assert Ledger(folder).status().done == 1
    assert "the other 2 runs will take one worker about" in done.stdout


def test_an_estimate_trains_nothing(environment, tmp_path):
    done = start(environment, toy_yaml(tmp_path), "--estimate")
    assert done.returncode == 0, done.stderr
    assert "1 such machine" in done.stdout
    [folder] = (tmp_path / "runs" / "sweeps").iterdir()
    assert Ledger(folder).status().done == 0


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([], "./start_sweep.sh YAML|ID [--runs N] [--test N] [--jobs K] [--estimate] [--track TRACKER]"),
        (["x", "--test"], "--test : give a positive number of runs"),
        (["x", "--test", "0"], "--test 0: give a positive number of runs"),
        (["x", "--runs", "0"], "--runs 0: give a positive number of runs"),
        (["x", "--jobs", "two"], "--jobs two: give a positive number of workers"),
        (["x", "--time=10"], "--time=10: unknown; sbatch options go after --"),
        (["x", "--track", "wandbb"], "--track wandbb: give wandb, tensorboard or jsonl"),
        (["x", "--track", "wandb", "--estimate"], "--track: --estimate trains no run to be logged"),
        (["x", "--", "--gres=gpu:1"], "no Slurm here, so nothing takes what follows --: --gres=gpu:1"),
        (["x", "y"], "y: one sweep at a time, x is given already"),
    ],
)
def test_bad_words_are_told(environment, words, told):
    done = start(environment, *words)
    assert (done.returncode, done.stdout) == (2, "")
    assert told in done.stderr


@pytest.mark.parametrize("word", ["-h", "--help"])
def test_help_is_no_error(environment, word):
    done = start(environment, word)
    assert (done.returncode, done.stderr) == (0, "")
    assert "--test N " in done.stdout
    assert "set -euo" not in done.stdout


def test_an_estimate_s_options_are_srun_s(environment, tmp_path):
    """Where there is sbatch alone, an estimate runs on this machine, and has no use for them."""
    (tmp_path / "bin" / "sbatch").symlink_to(shutil.which("true"))
    done = start(environment, "x", "--estimate", "--", "--gres=gpu:1")
    assert (done.returncode, done.stdout) == (2, "")
    assert "nothing takes what follows --: --gres=gpu:1" in done.stderr


UNCONFIGURED = """\
sinfo: error: resolve_ctls_from_dns_srv: res_nsearch error: Unknown host
sinfo: error: _establish_config_source: failed to fetch config
sinfo: fatal: Could not establish a configuration source"""
OLDER = "sinfo: error: s_p_parse_file: unable to status file /etc/slurm/slurm.conf: No such file or directory"
DOWN = "slurm_load_partitions: Unable to contact slurm controller (connect failure)"
BROKEN = """\
sinfo: error: _parse_next_key: Parsing error at unrecognized key: A in /etc/slurm/slurm.conf
sinfo: fatal: Unable to process configuration file"""


def clients(tmp_path, told: str) -> None:
    """Slurm's programs, none of which works: sinfo says why."""
    (tmp_path / "told").write_text(told + "\n")
    (tmp_path / "bin" / "cat").symlink_to(shutil.which("cat"))
    (tmp_path / "bin" / "sh").symlink_to(shutil.which("sh"))
    for name in ("sbatch", "srun", "sinfo"):
        program = tmp_path / "bin" / name
        program.write_text(f"#!/bin/sh\ncat {tmp_path}/told >&2; exit 1\n")
        program.chmod(0o755)


@pytest.mark.parametrize("told", [UNCONFIGURED, OLDER])
def test_programs_of_slurm_that_are_not_configured_are_no_slurm(environment, tmp_path, told):
    clients(tmp_path, told)
    path = toy_yaml(tmp_path, train__first_seed=[0, 1])
    done = start(environment, path, "--estimate")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("no Slurm here (srun is installed, not configured): measured on this machine\n")
    done = start(environment, path, "--test", "1")
    assert done.returncode == 0, done.stderr
    assert "no Slurm here (sbatch is installed, not configured): 1 worker(s) on this machine\n" in done.stdout
    assert "the other run will take one worker about" in done.stdout
    assert "sinfo" not in done.stdout + done.stderr
    for words, client in ((["--estimate"], "srun"), ([], "sbatch")):
        done = start(environment, path, *words, "--", "--gres=gpu:1")
        none = f"no Slurm here ({client} is installed, not configured), so nothing takes what follows --: --gres=gpu:1"
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr == f"start_sweep.sh: error: {none}\n"


@pytest.mark.parametrize("told", [DOWN, BROKEN])
@pytest.mark.parametrize("words", [[], ["--estimate"], ["--", "--gres=gpu:1"]])
def test_a_slurm_that_does_not_answer_is_one_line_and_nothing_starts_on_its_login_node(
    environment, tmp_path, told, words
):
    clients(tmp_path, told)
    done = start(environment, toy_yaml(tmp_path), *words)
    assert (done.returncode, done.stdout) == (2, "")
    why = told.splitlines()[-1]
    assert done.stderr == (f"start_sweep.sh: error: Slurm does not answer, so nothing was started; sinfo says: {why}\n")
    assert not (tmp_path / "runs").exists()


def test_an_unknown_sweep_is_told_before_anything_is_started(environment):
    done = start(environment, "none")
    assert done.returncode == 2
    assert "none: no sweep of this ID" in done.stderr


def test_it_warns_of_what_no_commit_describes(environment, tmp_path):
    checkout = tmp_path / "checkout"
    checkout.mkdir()
    script = shutil.copy(SCRIPT, checkout)

    def git(*words: str) -> None:
        identity = ["-c", "user.name=n", "-c", "user.email=e"]
        subprocess.run(["git", *identity, "-C", str(checkout), *words], check=True, capture_output=True)

    git("init", "-q")
    git("add", ".")
    git("commit", "-qm", "one")
    warned = start(environment, "none", script=script).stderr
    assert "uncommitted" not in warned
    assert "has no upstream" in warned
    (checkout / "change").touch()
    assert "uncommitted changes" in start(environment, "none", script=script).stderr
    subprocess.run(["git", "clone", "-q", "--bare", str(checkout), str(tmp_path / "origin")], check=True)
    git("remote", "add", "origin", str(tmp_path / "origin"))
    git("fetch", "-q", "origin")
    git("branch", "-q", "--set-upstream-to", "origin/" + subprocess.run(
        ["git", "-C", str(checkout), "branch", "--show-current"], capture_output=True, text=True, check=True
    ).stdout.strip())  # fmt: skip
    assert "pushed" not in start(environment, "none", script=script).stderr
    git("add", ".")
    git("commit", "-qm", "two")
    warned = start(environment, "none", script=script).stderr
    assert "unpushed commits" in warned
    assert "uncommitted" not in warned


def test_the_environment_is_made_once_and_from_the_lock(environment, tmp_path):
    uv = tmp_path / "bin" / "uv"
    uv.write_text(f'#!/bin/sh\necho "$PWD $@" >> {tmp_path}/uv.log\n')
    uv.chmod(0o755)
    del environment["BESTGUESS"]
    checkout = tmp_path / "checkout"
    (checkout / ".venv" / "bin").mkdir(parents=True)
    script = shutil.copy(SCRIPT, checkout)
    for name in ("bestguess", "python"):
        (checkout / ".venv" / "bin" / name).symlink_to(Path(sys.executable).parent / name)
    start(environment, "none", script=script)
    assert (tmp_path / "uv.log").read_text() == f"{checkout} sync --locked --inexact --quiet\n"


def test_every_array_may_be_empty_under_an_old_bash():
    """Up to bash 4.3, "${name[@]}" of an empty array is an error under set -u."""
    text = SCRIPT.read_text()
    expansions = re.findall(r'(\$\{(\w+)\[@\]\+)?"\$\{(\w+)\[@\]\}"', text)
    assert len(expansions) >= 6
    assert all(guarded and name == of for guarded, name, of in expansions)
    for later in ("mapfile", "readarray", "${!", "declare -A", "|&", "${1,,}"):
        assert later not in text


@pytest.fixture
def slurm(environment, tmp_path):
    """A Slurm that takes everything down, three tasks an array at most, and a bestguess with a plan of five units."""
    programs = tmp_path / "bin"
    (programs / "sleep").symlink_to(shutil.which("sleep"))
    (tmp_path / "sweep").mkdir()
    plan = json.dumps({"sweep": "toy-1", "folder": str(tmp_path / "sweep"), "ensembles": [[i] for i in range(5)]})
    for name, line in {
        "scontrol": "echo 'Configuration data'; echo 'MaxArraySize            = 3'",
        "sbatch": f'echo "$@" >> {tmp_path}/sbatch.log; echo 77',
        "bestguess": f"echo '{plan}'",
    }.items():
        (programs / name).write_text(f"#!/bin/sh\n{line}\n")
        (programs / name).chmod(0o755)
    (programs / "sh").symlink_to(shutil.which("sh"))
    (programs / "python").symlink_to(sys.executable)
    return environment | {"BESTGUESS": str(programs / "bestguess")}


def test_an_array_is_as_long_as_slurm_allows(slurm, tmp_path):
    done = start(slurm, "toy")
    assert done.returncode == 0, done.stderr
    array, check = (tmp_path / "sbatch.log").read_text().splitlines()
    assert "--array=0-2 " in array
    assert "afterany:77" in check
    assert "sweep toy-1: 3 tasks in job 77, checked by job 77" in done.stdout


def test_more_jobs_than_slurm_allows_are_refused_by_name(slurm, tmp_path):
    done = start(slurm, "toy", "--jobs", "4")
    assert done.returncode == 2
    assert "--jobs 4: Slurm's MaxArraySize allows 3 tasks; give no more" in done.stderr
    assert not (tmp_path / "sbatch.log").exists()


def test_an_array_that_slurm_refuses_names_jobs(slurm, tmp_path):
    sbatch = tmp_path / "bin" / "sbatch"
    sbatch.write_text("#!/bin/sh\necho 'sbatch: error: Job violates accounting policy' >&2; exit 1\n")
    done = start(slurm, "toy", "--", "--gres=gpu:1")
    assert done.returncode == 2
    assert "accounting policy" in done.stderr
    assert "give a smaller --jobs" in done.stderr
