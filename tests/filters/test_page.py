"""Pictures of a training's page that a reader meets at full size, with nine runs and four layers."""

from __future__ import annotations

import json
from pathlib import Path

import jax
import pytest

from bestguess.config import runs
from bestguess.filters.config import FilterModelConfig
from bestguess.filters.family import FAMILY
from bestguess.filters.forecaster import make_forecaster
from bestguess.filters.page import _attention, _rollout_skill
from bestguess.filters.systems import draw_system
from bestguess.filters.task import FilterTask
from bestguess.workflow.training import read_training_config

FULL = Path(__file__).parents[2] / "experiments/results/filters_muon_h200/inspected"


RUNS = runs(read_training_config(FAMILY, FULL))


def test_what_is_beside_the_runs_follows_them_in_the_legend():
    rollouts = json.loads((FULL / "rollouts.json").read_text(encoding="utf-8"))
    chart = _rollout_skill(RUNS, range(9), rollouts)
    assert [series.name for series in chart.series if series.name] == [
        *(run.label(RUNS) for run in RUNS),
        "AR(k), fitted, fed back",
    ]
    assert len(chart.series) == 18


@pytest.mark.parametrize(("layers", "columns"), [(2, 3), (4, 4)])
def test_no_layer_s_attention_stands_alone_in_its_row(layers, columns):
    task = FilterTask(draw_system("diagonal", latent_dim=3, observed_dim=2, lambda_=0.95, sigma=1.3, seed=2), 14, 1)
    config = FilterModelConfig(layers=layers, d_model=8, heads=2)
    grid = _attention(RUNS[0], RUNS, make_forecaster(config, task.scale, key=jax.random.key(0)), task)
    assert (len(grid.panels), grid.columns) == (layers, columns)
