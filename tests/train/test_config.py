"""Configs: through YAML and back, and one clear line for whatever is off."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Annotated, Literal

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from bestguess.command import UserError
from bestguess.config import MOST, added, flag, from_dict, key_of, runs, to_dict
from bestguess.train.config import TrainConfig
from bestguess.train.optimizer import Optimizer, learning_rate


@dataclass(frozen=True)
class Inner:
    rate: float = 0.5
    rates: tuple[float, ...] = (1e-3,)
    kind: Literal["a", "b"] = "a"
    kinds: tuple[Literal["a", "b"], ...] = ("a",)
    lambda_: Annotated[tuple[float, ...], "a note"] = (0.9,)


@dataclass(frozen=True)
class Outer:
    inner: Inner = field(default_factory=Inner)
    count: int = 3
    maybe: int | None = None
    word: str = "x"
    on: bool = False


@dataclass(frozen=True)
class Trained:
    train: TrainConfig = field(default_factory=TrainConfig)


numbers = st.floats(allow_nan=False)
inners = st.builds(
    Inner,
    rate=numbers,
    rates=st.lists(numbers, max_size=3).map(tuple),
    kind=st.sampled_from(["a", "b"]),
    kinds=st.lists(st.sampled_from(["a", "b"]), max_size=3).map(tuple),
    lambda_=st.lists(numbers, max_size=3).map(tuple),
)
outers = st.builds(
    Outer,
    inner=inners,
    count=st.integers(-MOST, MOST),
    maybe=st.none() | st.integers(-MOST, MOST),
    word=st.text(st.characters(exclude_categories=["Cc", "Cs"])),  # PyYAML reads back U+0085 as a space
    on=st.booleans(),
)


@given(outers)
def test_round_trip_through_yaml(config):
    text = yaml.safe_dump(to_dict(config), sort_keys=False, allow_unicode=True)
    assert from_dict(Outer, yaml.safe_load(text)) == config


def test_round_trip_of_the_trainers_own():
    config = TrainConfig(learning_rate=(3e-4, 1e-3), clip_norm=float("inf"), checkpoint_every=0.0)
    assert from_dict(TrainConfig, yaml.safe_load(yaml.safe_dump(to_dict(config)))) == config


def test_keys_are_the_flags_names():
    assert to_dict(Inner())["lambda"] == [0.9]
    assert key_of("lambda_") == "lambda"
    assert flag("lambda_") == "--lambda"
    assert flag("learning_rate") == "--learning-rate"


def test_a_missing_key_takes_its_default():
    assert from_dict(Outer, {"inner": {"kind": "b"}}) == Outer(inner=Inner(kind="b"))
    assert from_dict(Outer, {}) == Outer()


def test_yaml_reads_1e_4_as_a_string_and_we_do_not():
    data = yaml.safe_load("inner: {rate: 1e-4, rates: [1e-4, 3.0e-4, 1], lambda: 0.5}\nmaybe: null")
    assert data["inner"]["rate"] == "1e-4"  # the trap
    config = from_dict(Outer, data)
    assert config == Outer(inner=Inner(rate=1e-4, rates=(1e-4, 3e-4, 1.0), lambda_=(0.5,)))
    assert all(type(rate) is float for rate in config.inner.rates)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"cuont": 1}, "cuont: unknown key; did you mean count?"),
        ({"inner": {"ratse": [1]}}, "inner.ratse: unknown key; did you mean rate?"),
        ({"inner": {"lambda_": [1]}}, "inner.lambda_: unknown key; did you mean lambda?"),
        ({"zzz": 1}, "zzz: unknown key"),
        ({7: 1}, "7: unknown key"),
        ({"count": "3"}, "count: '3' is not an int"),
        ({"count": 3.5}, "count: 3.5 is not an int"),
        ({"count": True}, "count: True is not an int"),
        ({"count": None}, "count: None is not an int"),
        ({"on": 1}, "on: 1 is not a bool"),
        ({"word": 1}, "word: 1 is not a str"),
        ({"maybe": "no"}, "maybe: 'no' is not an int"),
        ({"inner": {"rate": "fast"}}, "inner.rate: 'fast' is not a number"),
        ({"inner": {"rate": True}}, "inner.rate: True is not a float"),
        ({"inner": {"rate": [1.0]}}, "inner.rate: [1.0] is not a number"),
        ({"inner": {"rate": None}}, "inner.rate: None is not a number"),
        ({"inner": {"rates": [1, "two"]}}, "inner.rates[1]: 'two' is not a number"),
        ({"inner": {"kind": "c"}}, "inner.kind: 'c' is not one of a, b"),
        ({"inner": {"kind": ["a"]}}, "inner.kind: ['a'] is not one of a, b"),
        ({"inner": {"kinds": ["a", "c"]}}, "inner.kinds[1]: 'c' is not one of a, b"),
        ({"inner": 3}, "inner: expected a mapping of keys, found 3"),
        ([1], "Outer: expected a mapping of keys, found [1]"),
        (None, "Outer: expected a mapping of keys, found None"),
    ],
)
def test_what_is_off_is_named_in_one_line(data, message):
    with pytest.raises(UserError) as error:
        from_dict(Outer, data)
    assert str(error.value) == message


@dataclass(frozen=True)
class Grown:
    old: int = 3
    new: float = added(0.5)


def test_only_a_field_that_was_added_since_may_be_missing_from_a_complete_file():
    assert from_dict(Grown, {"old": 4}, complete=True) == Grown(old=4)
    with pytest.raises(UserError, match=r"^old: this key is missing; the file was cut or is of another version$"):
        from_dict(Grown, {"new": 0.1}, complete=True)
    before = to_dict(TrainConfig())
    del before["average"], before["hold"]
    assert from_dict(TrainConfig, before, complete=True) == TrainConfig()


def test_where_leads_the_message():
    with pytest.raises(UserError, match=r"^file\.yaml: inner\.rate: 'x' is not a number$"):
        from_dict(Outer, {"inner": {"rate": "x"}}, "file.yaml: ")


# ------------------------------------------------------------------------------- the trainer's values


def test_the_defaults_are_possible():
    TrainConfig().check()


nan, inf = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("change", "named"),
    [
        *[
            ({name: value}, flag(name))
            for name in ("steps", "batch_size", "seeds", "accumulate", "validate_every", "validation_sequences")
            for value in (0, -1)
        ],
        *[({"clip_norm": value}, "--clip-norm") for value in (0.0, -1.0, nan)],
        *[({name: -1}, flag(name)) for name in ("first_seed", "warmup_steps", "patience")],
        *[
            ({name: -1.0}, flag(name))
            for name in ("final_learning_rate", "weight_decay", "min_delta", "checkpoint_every")
        ],
        ({"weight_decay": nan}, "--weight-decay"),
        ({"final_learning_rate": 1.1}, "--final-learning-rate"),
        ({"learning_rate": ()}, "--learning-rate"),
        ({"learning_rate": (1e-3, 0.0)}, "--learning-rate 0.0"),
        ({"learning_rate": (1e-3, nan)}, "--learning-rate nan"),
        ({"learning_rate": (inf,)}, "--learning-rate inf"),
        ({"learning_rate": (1e-3, 1e-3)}, "--learning-rate 0.001 0.001"),
        ({"beta1": 1.0}, "--beta1"),
        ({"beta2": -0.1}, "--beta2"),
        *[({"average": value}, f"--average {value}: must lie in [0, 1)") for value in (-0.1, 1.0, nan)],
        *[({"hold": value}, f"--hold {value}: must lie in [0, 1)") for value in (-0.1, 1.0, nan)],
        ({"hold": 0.3, "schedule": "constant"}, "--hold 0.3: the constant schedule never decays; drop it, or take"),
        ({"hold": 0.96, "steps": 10, "warmup_steps": 0}, "--hold 0.96: leaves none of 10 steps to decay in"),
        ({"steps": 10, "warmup_steps": 10}, "--warmup-steps 10"),
        ({"batch_size": 10, "accumulate": 3}, "--accumulate 3"),
        ({"validation_sequences": 1}, "--validation-sequences 1"),
        ({"first_seed": 2**31 - 1, "seeds": 2}, "--first-seed"),
    ],
)
def test_an_impossible_value_is_named_in_one_line(change, named):
    with pytest.raises(UserError) as error:
        dataclasses.replace(TrainConfig(), **change).check()
    assert str(error.value).startswith(named)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "change",
    [
        {"clip_norm": inf},
        {"warmup_steps": 0},
        {"steps": 10, "warmup_steps": 9},
        {"final_learning_rate": 1.0},
        {"hold": 0.94, "steps": 10, "warmup_steps": 0},
        {"average": 0.9999},
        {"checkpoint_every": 0.0},
        {"batch_size": 12, "accumulate": 12},
        {"first_seed": 2**31 - 1},
    ],
)
def test_the_last_possible_value_is_taken(change):
    dataclasses.replace(TrainConfig(), **change).check()


@pytest.mark.parametrize(
    ("train", "named"),
    [
        ({"weight_decay": float("inf")}, "--weight-decay inf"),
        ({"min_delta": float("inf")}, "--min-delta inf"),
        ({"learning_rate": (1e-3, 1e39)}, "--learning-rate 1e+39"),
        ({"learning_rate": (1e-42,)}, "--learning-rate 1e-42"),
        ({"clip_norm": 1e-300}, "--clip-norm 1e-300"),
        ({"checkpoint_every": float("nan")}, "--checkpoint-every nan"),
    ],
)
def test_a_number_that_float32_does_not_hold_is_refused_wherever_it_stands(train, named):
    with pytest.raises(UserError) as error:
        runs(Trained(train=TrainConfig(**train)))
    assert str(error.value).startswith(f"{named}: must be finite, and within float32")


def test_inf_disables_what_may_be_disabled():
    inf = float("inf")
    assert len(runs(Trained(train=TrainConfig(clip_norm=inf, clip_value=inf, checkpoint_every=inf)))) == 1


@pytest.mark.parametrize(
    ("base", "given", "expected"),
    [
        ({"steps": 5, "warmup_steps": 50}, (), {"warmup_steps": 0}),
        ({"steps": 50, "warmup_steps": 50}, (), {"warmup_steps": 5}),
        ({"steps": 51, "warmup_steps": 50}, (), {}),
        ({"steps": 50, "warmup_steps": 50}, ("warmup_steps",), {}),
        ({"steps": 1, "warmup_steps": 50, "hold": 0.8}, (), {"warmup_steps": 0, "hold": 0.0}),
        ({"steps": 1, "warmup_steps": 0, "hold": 0.8}, ("hold",), {}),
        ({"steps": 9, "warmup_steps": 8, "hold": 0.8}, ("warmup_steps",), {"hold": 0.0}),
        ({"schedule": "constant", "hold": 0.2}, (), {"hold": 0.0}),
        ({"schedule": "constant", "hold": 0.2}, ("hold",), {}),
    ],
    ids=str,
)
def test_defaults_give_way_to_the_steps_and_what_was_given_does_not(base, given, expected):
    config = TrainConfig(**base)
    found = config.shortened(given)
    assert found == dataclasses.replace(config, **expected)
    assert [line.partition(":")[0] for line in found.told_beside(config)] == [
        {"warmup_steps": "warm-up", "hold": "hold"}[name] for name in expected
    ]
    if not given:
        found.check()


IDLE = ("momentum", "beta2", "final_learning_rate", "learning_rate_drops")
OTHER = {"momentum": 0.5, "beta2": 0.9, "final_learning_rate": 0.3, "learning_rate_drops": 2}


@pytest.mark.parametrize(
    "changes",
    [{}, {"optimizer": "adam"}, {"optimizer": "sgd"}, {"optimizer": "muon", "schedule": "constant"},
     {"schedule": "step", "final_learning_rate": 0.1}],
    ids=str,
)  # fmt: skip
def test_a_field_does_something_unless_the_config_says_what_it_needs(changes):
    base = TrainConfig(steps=20, warmup_steps=2, **changes)
    assert set(base.idle()) <= {*IDLE, "min_delta", "min_decrease"}
    assert not {"min_delta", "min_decrease"} & set(dataclasses.replace(base, patience=1).idle())
    weights = {"w": np.arange(6.0).reshape(2, 3) + 1, "b": np.ones(2)}
    gradient = {"w": jnp.asarray([[3.0, 1, 2], [0, 1, 0]]), "b": jnp.asarray([2.0, 1.0])}

    def outcome(config: TrainConfig) -> list[np.ndarray]:
        rates = jax.vmap(lambda step: learning_rate(config, np.ones(()), step))(jnp.arange(20))
        optimizer = Optimizer(config, hidden=lambda model: {"w": True, "b": False})
        state = optimizer.init(weights)
        for scale in (1.0, 0.01):
            state = optimizer.update(gradient, state, weights, scale)
        return [np.asarray(one) for one in (rates, *jax.tree.leaves(optimizer.direction(state, weights)))]

    own = outcome(base)
    for name in IDLE:
        changed = outcome(dataclasses.replace(base, **{name: OTHER[name]}))
        assert all(map(np.array_equal, changed, own)) == (name in base.idle()), name
