"""The family's flags: every impossible combination is one line that names the flag; runs come in a fixed order."""

from __future__ import annotations

import dataclasses
import itertools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import yaml

from bestguess.command import UserError
from bestguess.config import before, from_dict, runs, task_key, to_dict
from bestguess.filters.config import (
    PATCHES,
    PRESETS,
    FilterModelConfig,
    FiltersConfig,
    FilterTaskConfig,
    RolloutConfig,
    brief,
    small,
)
from bestguess.filters.evaluate import predict_all
from bestguess.filters.family import FAMILY
from bestguess.filters.flags import QuickstartFlags
from bestguess.sweep.plan import config_of, plan_round
from bestguess.train.config import TrainConfig
from bestguess.workflow.flags import refuse_idle, train_flags

nan, inf = float("nan"), float("inf")


def config(**changes) -> FiltersConfig:
    """The defaults with changes; `task__sigma` changes `task.sigma`."""
    rooms: dict[str, dict] = {"task": {}, "model": {}, "train": {}, "rollout": {}}
    own = {}
    for name, value in changes.items():
        room, _, field = name.partition("__")
        if field:
            rooms[room][field] = value
        else:
            own[name] = value
    base = FiltersConfig(**own)
    return dataclasses.replace(base, **{r: dataclasses.replace(getattr(base, r), **c) for r, c in rooms.items()})


def message(changed: FiltersConfig) -> str:
    with pytest.raises(UserError) as error:
        changed.check()
    assert "\n" not in str(error.value)
    return str(error.value)


def test_the_presets_are_possible():
    flags_class = train_flags(FAMILY)
    for (name,), preset in PRESETS.items():
        preset.check()
        flags = flags_class.chosen({"preset": name})
        assert flags.preset == name
        assert flags.config() == preset
    assert flags_class.choices() == {"preset": ("default", "brief", "small")}
    assert set(PRESETS) == {("default",), ("brief",), ("small",)}
    assert PRESETS["brief",] == brief()
    assert brief().model.normalisation == "instance"
    assert dataclasses.replace(brief(), model=FilterModelConfig()) == FiltersConfig()
    assert PRESETS["small",] == small() != PRESETS["default",] == FiltersConfig()


def test_the_defaults_are_the_original_design():
    task, model, rollout = FilterTaskConfig(), FilterModelConfig(), RolloutConfig()
    assert (task.length, task.latent_dim, task.observed_dim, task.sigma, task.lambda_) == (256, 64, 2, 1.0, (0.9,))
    assert (model.layers, model.d_model, model.heads) == (4, 256, 4)
    assert (rollout.context, rollout.horizons, rollout.rollouts) == (64, (2, 4, 8, 16, 32, 64), 8192)
    assert PATCHES == (1, 2, 4, 8, 16, 32)


@pytest.mark.parametrize(
    ("changes", "start"),
    [
        ({"task__latent_dim": 0}, "--latent-dim 0:"),
        ({"task__observed_dim": 0}, "--observed-dim 0:"),
        ({"task__length": -256}, "--length -256:"),
        ({"task__sigma": 0.0}, "--sigma 0.0:"),
        ({"task__sigma": -1.0}, "--sigma -1.0:"),
        ({"task__sigma": nan}, "--sigma nan:"),
        ({"task__sigma": 1e-25}, "--sigma 1e-25:"),
        ({"task__sigma": 1e20}, "--sigma 1e+20:"),
        ({"task__sigma": inf}, "--sigma inf:"),
        ({"task__observed_dim": 3, "task__latent_dim": 2}, "--observed-dim 3:"),
        ({"task__observation_noise": -1.0}, "--observation-noise -1.0:"),
        ({"task__observation_noise": 1e-7}, "--observation-noise 1e-07: must be 0 or lie in"),
        ({"task__observation_noise": nan}, "--observation-noise nan:"),
        ({"task__system_seed": -1}, "--system-seed -1:"),
        ({"task__condition": 0.5}, "--condition 0.5:"),
        ({"task__condition": nan}, "--condition nan:"),
        ({"task__lambda_": ()}, "--lambda :"),
        ({"task__lambda_": (0.9, 0.9)}, "--lambda 0.9 0.9:"),
        ({"task__lambda_": (0.9, 1.0)}, "--lambda 1.0:"),
        ({"task__lambda_": (0.0,)}, "--lambda 0.0:"),
        ({"task__lambda_": (nan,)}, "--lambda nan:"),
        ({"task__structure": ("dense", "dense")}, "--structure dense dense:"),
        ({"task__structure": ()}, "--structure :"),
        ({"model__heads": 3}, "--heads 3:"),
        ({"model__d_model": 12, "model__heads": 4}, "--d-model 12 over --heads 4"),
        ({"model__layers": 0}, "--layers 0:"),
        ({"train__steps": 0}, "--steps 0:"),
        ({"train__warmup_steps": 12_000}, "--warmup-steps 12000:"),
        ({"model__patch": 3}, "--patch 3: must be one of 1, 2, 4, 8, 16, 32"),
        ({"model__patch": 0}, "--patch 0:"),
        ({"model__patch": -1}, "--patch -1:"),
        ({"model__patch": 64}, "--patch 64:"),
        ({"model__patch": 16, "task__length": 250}, "--length 250: must be a multiple of --patch 16"),
        ({"model__patch": 32, "task__length": 32}, "--length 32: holds one patch of 32;"),
        ({"task__length": 1}, "--length 1: holds one patch of 1;"),
        ({"rollout__context": 0}, "--context 0:"),
        ({"rollout__context": 63, "model__patch": 2}, "--context 63: must be a positive multiple of --patch 2"),
        ({"rollout__horizons": ()}, "--horizons (none):"),
        ({"rollout__horizons": (0, 2)}, "--horizons 0 2: give positive"),
        ({"rollout__horizons": (4, 2)}, "--horizons 4 2: must increase"),
        ({"rollout__horizons": (2, 2)}, "--horizons 2 2: must increase"),
        ({"rollout__context": 64, "rollout__horizons": (193,)}, "--context 64 and --horizons 193 reach past"),
        ({"rollout__rollouts": 1}, "--rollouts 1: at least 2"),
        ({"test_sequences": 1}, "--test-sequences 1: at least 2"),
    ],
)  # fmt: skip
def test_an_impossible_combination_is_named_in_one_line(changes, start):
    assert message(config(**changes)).startswith(start)


@pytest.mark.parametrize(
    "changes",
    [
        {"rollout__context": 64, "rollout__horizons": (192,)},
        {"model__patch": 32, "task__length": 64, "rollout__context": 32, "rollout__horizons": (32,)},
        {"task__observed_dim": 64},
        {"task__observed_dim": 65, "task__observation_noise": 1e-6},
        {"task__condition": 1.0},
        {"rollout__rollouts": 2, "test_sequences": 2},
        *[{"model__patch": patch} for patch in PATCHES],
    ],
)
def test_the_last_possible_combination_is_taken(changes):
    config(**changes).check()


def test_runs_are_every_combination_in_the_order_of_the_run_axis():
    made = runs(
        config(
            task__lambda_=(0.9, 0.5),
            task__structure=("dense", "diagonal"),
            train__seeds=2,
            train__first_seed=7,
            train__learning_rate=(1e-3, 3e-3, 1e-4),
        )
    )
    expected = list(itertools.product((0.9, 0.5), ("dense", "diagonal"), (7, 8), (1e-3, 3e-3, 1e-4)))
    assert len(made) == len(set(expected)) == 2 * 2 * 2 * 3
    names = ("lambda", "structure", "seed", "learning_rate")
    assert [one.values for one in made] == [dict(zip(names, values)) for values in expected]
    assert [one.index for one in made] == list(range(len(made)))
    assert [one.config for one in made] == [
        config(
            task__lambda_=(lambda_,), task__structure=(structure,), train__first_seed=seed, train__learning_rate=(rate,)
        )
        for lambda_, structure, seed, rate in expected
    ]
    assert [(one.setting, one.seed, one.learning_rate) for one in made] == [
        ((lambda_, structure), seed, rate) for lambda_, structure, seed, rate in expected
    ]
    (one,) = runs(FiltersConfig())
    assert (one.setting, one.seed, one.learning_rate) == ((0.9, "diagonal"), 0, 1e-3)


def test_a_label_tells_what_differs():
    made = runs(config(task__lambda_=(0.9, 0.5), train__learning_rate=(1e-3, 3e-3)))
    assert [run.label(made) for run in made] == [
        "λ 0.9, rate 0.001",
        "λ 0.9, rate 0.003",
        "λ 0.5, rate 0.001",
        "λ 0.5, rate 0.003",
    ]
    assert made[0].label(made[:1]) == "λ 0.9"
    several = runs(config(task__structure=("dense", "rotated"), train__seeds=2))
    assert [run.label(several) for run in several] == [
        "dense, seed 0",
        "dense, seed 1",
        "rotated, seed 0",
        "rotated, seed 1",
    ]
    every = runs(config(task__lambda_=(0.9, 0.5), task__structure=("dense", "rotated"), train__seeds=2))
    assert len({run.label(every) for run in every}) == len(every)


def test_round_trip_through_yaml():
    changed = config(task__lambda_=(0.5, 0.99), task__structure=("dense",), model__d_ff=12, train__clip_norm=inf)
    for one in (FiltersConfig(), small(), changed):
        text = yaml.safe_dump(to_dict(one), sort_keys=False)
        assert "lambda:" in text
        assert from_dict(FiltersConfig, yaml.safe_load(text)) == one


def test_the_quickstart_s_lambdas_are_possible():
    flags = QuickstartFlags()
    dataclasses.replace(small(), task=dataclasses.replace(small().task, lambda_=flags.lambda_)).check()
    assert len(flags.lambda_) > 1
    assert isinstance(small().train, TrainConfig)


def test_older_folders_mean_what_they_meant():
    """A file that was written whole before there was a law of the moduli had the other one."""
    older = to_dict(FiltersConfig())
    del older["task"]["moduli"], older["task"]["system_seed"], older["task"]["observation_noise"]
    found = from_dict(FiltersConfig, older, complete=True).task
    assert (found.moduli, found.observation_noise) == ("bounded", 0.0)
    assert from_dict(FiltersConfig, older).task.moduli == "attained"
    assert before(FiltersConfig()) == {"task.moduli": "bounded"}


def test_a_planned_run_says_the_law_of_its_system_and_one_planned_before_has_the_older():
    values = {"family": "filters", "preset": "small"}
    (run,) = plan_round([values], ensemble=1).runs
    assert run.config == {"task.moduli": "attained", **values}
    assert config_of(run.config)[1].task.moduli == "attained"
    assert config_of(values)[1].task.moduli == "bounded"
    assert config_of(values, new=True)[1].task.moduli == "attained"


OTHER = {
    "task.lambda_": (0.8,), "task.structure": ("diagonal-real",), "task.moduli": "bounded", "task.system_seed": 5,
    "task.systems": 2, "task.held_out": 4, "task.latent_dim": 6, "task.observed_dim": 1, "task.sigma": 2.0,
    "task.observation_noise": 0.5, "task.length": 12, "task.condition": 20.0,
    "model.layers": 2, "model.d_model": 12, "model.heads": 1, "model.d_ff": 12, "model.activation": "relu",
    "model.rope_base": 50.0, "model.dtype": "bfloat16", "model.patch": 2, "model.normalisation": "none",
    "model.prior_steps": 64.0, "model.told_statistics": True,
    "rollout.context": 4, "rollout.horizons": (1,), "rollout.rollouts": 5,
}  # fmt: skip
"""Another value of every field that may decide what is learnt or reported; the attention kernel must not."""
TINY = {
    "task__latent_dim": 4, "task__length": 8, "task__held_out": 3, "model__layers": 1, "model__d_model": 8,
    "model__heads": 2, "rollout__context": 2, "rollout__horizons": (2, 4), "rollout__rollouts": 4,
}  # fmt: skip


def changed_at(base: FiltersConfig, path: str, value) -> FiltersConfig:
    room, _, name = path.partition(".")
    return dataclasses.replace(base, **{room: dataclasses.replace(getattr(base, room), **{name: value})})


def outcome(base: FiltersConfig) -> tuple[list[np.ndarray], list[np.ndarray], str]:
    """The task's arrays, what a model of fixed weights predicts, and which rollouts there are."""
    works = FAMILY.works.of(base)
    task = jax.tree.map(jnp.asarray, works.task(base))
    model = works.problem([base], [task]).init(task, jax.random.key(0))
    model = eqx.tree_at(lambda one: one.core.head, model, replace_fn=lambda head: head + 1)
    T, m = task.shape
    predicted = predict_all(model, 3 * jax.random.normal(jax.random.key(1), (2, T, m)))
    told = str(base.rollout) if "rollouts" in works.parts else ""
    return [np.asarray(leaf) for leaf in jax.tree.leaves(task)], [np.asarray(predicted)], told


def same(one, other) -> bool:
    return all(len(a) == len(b) and all(map(np.array_equal, a, b)) for a, b in zip(one[:2], other[:2])) and (
        one[2] == other[2]
    )


@pytest.mark.parametrize(
    "world", [{}, {"model__normalisation": "instance"}, {"task__structure": ("dense",)}, {"task__systems": 2}], ids=str
)
def test_a_field_does_something_unless_the_config_says_what_it_needs(world):
    """Else it would be an option that does nothing. Which evaluations are one is decided by what they depend on."""
    base = config(**{**TINY, **world})
    every = {f"{room.name}.{one.name}" for room in dataclasses.fields(base) if room.name in ("task", "model", "rollout")
             for one in dataclasses.fields(getattr(base, room.name))}  # fmt: skip
    assert every == OTHER.keys() | {"model.attention"}
    idle = base.idle()
    assert idle.keys() <= every
    sometimes = set().union(*(config(**{**TINY, **one}).idle() for one in ({}, {"task__systems": 2})))
    own = outcome(base)
    for path in OTHER if not world else sometimes:
        other = changed_at(base, path, OTHER[path])
        other.check()
        assert same(outcome(other), own) == (path in idle), path
        assert task_key(other) != task_key(base)


def test_a_value_that_does_nothing_is_refused_where_it_is_given():
    base = small()
    refuse_idle(base, base)
    refuse_idle(changed_at(base, "model.normalisation", "instance"), base)
    refuse_idle(changed_at(brief(), "model.normalisation", "input"), brief())  # the preset's, not the user's
    for path, told in (
        ("model.told_statistics", "--told-statistics: does nothing here; it needs --normalisation instance"),
        ("model.prior_steps", "--prior-steps 64.0: does nothing here; it needs --normalisation instance"),
        ("task.held_out", "--held-out 4: does nothing here; it needs --systems"),
        ("task.condition", "--condition 20.0: does nothing here; it needs --structure dense"),
    ):
        with pytest.raises(UserError) as error:
            refuse_idle(changed_at(base, path, OTHER[path]), base)
        assert str(error.value) == told
    several = changed_at(changed_at(base, "task.systems", 2), "rollout.horizons", (2, 4))
    with pytest.raises(UserError, match=r"^--horizons 2 4: does nothing here; it needs one known system"):
        refuse_idle(several, base)
    momentum = dataclasses.replace(base, train=dataclasses.replace(base.train, momentum=0.9))
    with pytest.raises(UserError, match=r"^--momentum 0\.9: does nothing here; it needs --optimizer muon"):
        refuse_idle(momentum, base)
