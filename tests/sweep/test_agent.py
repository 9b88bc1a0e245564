"""The command that a `wandb agent` builds from a sweep's YAML runs one run."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from bestguess.command import UserError
from bestguess.sweep.agent import _left_out, parse
from bestguess.sweep.spec import read_spec
from tests.sweep.conftest import ROOT, lay_traps

EXPERIMENTS = sorted((ROOT / "experiments").glob("*.yaml"))

SWEEP = """
program: bestguess.sweep.agent
command: ["${env}", "${interpreter}", "-P", "-m", "${program}", "${args}"]
method: grid
parameters:
  family: {value: filters}
  preset: {value: small}
  task: {parameters: {lambda: {values: [0.5]}, latent_dim: {value: 3}, length: {value: 8}}}
  model.layers: {value: 1}
  model.d_model: {value: 4}
  model.heads: {value: 2}
  train.learning_rate: {values: [1e-2]}
  train.first_seed: {value: 3}
  train.steps: {value: 4}
  train.warmup_steps: {value: 1}
  train.batch_size: {value: 2}
  train.validate_every: {value: 2}
  rollout.context: {value: 4}
  rollout.horizons: {value: [1, 2]}
  rollout.rollouts: {value: 3}
  test_sequences: {value: 5}
"""


def agent_command(config: dict, args: dict) -> list[str]:
    """Return what wandb's agent would start: wandb's own functions, and its filling in of macros."""
    utils = pytest.importorskip("wandb.sdk.launch.sweeps.utils")
    macros = utils.create_sweep_command_args({"args": {key: {"value": value} for key, value in args.items()}})
    macros |= {"env": ["/usr/bin/env"], "interpreter": ["python"], "program": [config["program"]]}
    words: list[str] = []
    for chunk in utils.create_sweep_command(list(config["command"])):
        words += macros[chunk[2:-1]] if chunk.startswith("${") else [chunk]
    return words


def first_values(parameters: dict) -> dict:
    """Return the first value of everything, nested as W&B's server nests it."""
    return {
        key: first_values(one["parameters"]) if "parameters" in one else one.get("value", one.get("values", [None])[0])
        for key, one in parameters.items()
    }


def test_the_command_of_an_agent_runs_one_run(tmp_path, monkeypatch):
    config = yaml.safe_load(SWEEP)
    words = agent_command(config, first_values(config["parameters"]))
    assert words[:5] == ["/usr/bin/env", "python", "-P", "-m", "bestguess.sweep.agent"]
    lay_traps(tmp_path)
    assert "--task={'lambda': 0.5, 'latent_dim': 3, 'length': 8}" in words
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent), prepend=":")
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["config"]["task.lambda"] == 0.5
    assert result["config"]["train.learning_rate"] == 0.01
    figures = result["metrics"]
    assert figures["normalised_loss"] > 1
    assert set(figures["rollout"]) == {"1", "2"}
    assert figures["self_test"] <= 1e-6
    [folder] = (tmp_path / "runs" / "agent").iterdir()
    assert str(folder.relative_to(tmp_path)) == result["folder"]
    assert [json.loads(line)["step"] for line in (folder / "metrics.jsonl").read_text().splitlines()] == [2, 4]


@pytest.mark.parametrize("path", EXPERIMENTS, ids=lambda path: path.stem)
def test_the_experiments_give_an_agent_what_they_give_us(path):
    config = yaml.safe_load(path.read_text())
    values = parse(agent_command(config, first_values(config["parameters"]))[5:])
    assert config["command"] == yaml.safe_load(SWEEP)["command"]
    spec = read_spec(path)
    assert values.keys() == spec.parameters.keys()
    for key, parameter in spec.parameters.items():
        assert values[key] in parameter.arguments.get("values", [parameter.arguments.get("value")])


def test_every_form_of_arguments_is_read():
    wanted = {"a.b": 1e-3, "c": True, "d": None, "e": [1, 2], "f": "word"}
    forms = {
        "args": ["--a.b=0.001", "--c=True", "--d=None", "--e=[1, 2]", "--f=word"],
        "args_no_equals": ["--a.b", "1e-3", "--c", "True", "--d", "None", "--e", "[1, 2]", "--f", "word"],
        "args_no_hyphens": ["a.b=0.001", "c=True", "d=None", "e=[1, 2]", "f=word"],
        "args_append_hydra": ["+a.b=0.001", "+c=true", "+d=null", "+e=[1,2]", "++f=word"],
        "nested": ["--a={'b': 0.001}", "--c=True", "--d=None", "--e=(1, 2)", "--f=word"],
    }
    for name, words in forms.items():
        found = parse(words)
        assert found | {"e": list(found["e"])} == wanted, name


def test_arguments_of_wandbs_other_macros_are_read(tmp_path, monkeypatch):
    """`${args_no_boolean_flags}`, `${args_json}` and `${args_json_file}`, each as W&B's own function writes it."""
    utils = pytest.importorskip("wandb.sdk.launch.sweeps.utils")
    wanted = {"a.b": 1e-3, "c": True, "bias": False, "d": None, "e": [1, 2], "f": "word", "last": True}
    made = utils.create_sweep_command_args({"args": {key: {"value": value} for key, value in wanted.items()}})
    assert parse(made["args_json"]) == wanted
    file = tmp_path / "config-1.json"
    file.write_text(made["args_json"][0])
    assert parse([str(file)]) == wanted
    words = made["args_no_boolean_flags"]
    assert "--c" in words
    assert not any("bias" in word.split("=")[0] for word in words)
    found = parse(words)
    assert found == {key: value for key, value in wanted.items() if key != "bias"}
    # What is false is left out of the arguments, and stands in the file that the agent names.
    (tmp_path / "config.yaml").write_text("wandb_version: 1\nbias: {value: false}\nc: {value: true}\n")
    monkeypatch.setenv("WANDB_SWEEP_PARAM_PATH", str(tmp_path / "config.yaml"))
    assert _left_out(found) == {"bias": False}
    monkeypatch.setenv("WANDB_SWEEP_PARAM_PATH", str(tmp_path / "none.yaml"))
    assert _left_out(found) == {}


@pytest.mark.parametrize("words", [["{"], ["[1]"], ["{1}"]])
def test_json_that_is_none_is_told(words):
    with pytest.raises(UserError):
        parse(words)


@pytest.mark.parametrize("words", [["a"], ["--a=1", "b"]])
def test_an_argument_that_is_none_is_told(words):
    with pytest.raises(UserError, match="expected --KEY=VALUE"):
        parse(words)


def test_a_bad_run_is_one_line_and_exit_2(tmp_path):
    words = [sys.executable, "-m", "bestguess.sweep.agent", "--family=filters", "--task.lamda=0.5"]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "bestguess: error: parameters: task.lamda: unknown key; did you mean lambda?\n"
    assert not list(tmp_path.iterdir())
