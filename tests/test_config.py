"""A config's runs, their names and keys, and values in place of defaults: all from the declaration of its fields."""

from __future__ import annotations

import dataclasses
import itertools
import json
import re
import typing
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, ClassVar

import pytest

from bestguess.cli import commands
from bestguess.command import UserError
from bestguess.config import (
    arrays,
    axes_of,
    axis,
    check_bounds,
    flag,
    from_dict,
    nested,
    only_run,
    run_of_single,
    runs,
    shape_key,
    task_key,
    to_dict,
    with_values,
)
from bestguess.filters.config import FiltersConfig
from bestguess.filters.config import small as small_filters
from bestguess.integers.config import BASES, IntegersConfig
from bestguess.sweep.changes import changed
from bestguess.train.config import TrainConfig


@dataclass(frozen=True)
class Dice:
    """A room with a field of each kind."""

    lambda_: tuple[float, ...] = axis((0.5,), "λ", always=True)
    """A setting."""
    width: Annotated[int, "of a die"] = 6
    """What changes shapes."""
    bias: float = arrays(0.1)
    """What ends up in arrays."""
    name: str = "fair"
    """A name that another room has too."""


@dataclass(frozen=True)
class Loss:
    """A room whose axis is tuned."""

    temperature: tuple[float, ...] = axis((1.0,), "temperature", setting=False)
    """Tuned."""
    name: str = "log"
    """A name that another room has too."""


@dataclass(frozen=True)
class DiceConfig:
    """A made-up config."""

    task: Dice = field(default_factory=Dice)
    loss: Loss = field(default_factory=Loss)
    train: TrainConfig = field(default_factory=TrainConfig)
    count: int = 7
    """Of dice."""

    def check(self) -> None:
        if self.count < 1:
            raise UserError(f"--count {self.count}: must be positive")


def config(**rooms: dict[str, Any]) -> DiceConfig:
    base = DiceConfig()
    changed = {room: dataclasses.replace(getattr(base, room), **values) for room, values in rooms.items()}
    return dataclasses.replace(base, **changed)


MANY = config(
    task={"lambda_": (0.5, 0.25)},
    loss={"temperature": (1.0, 2.0, 3.0)},
    train={"learning_rate": (1e-3, 1e-2), "first_seed": 5, "seeds": 2},
)


# ------------------------------------------------------------------------------------------ runs


def test_runs_are_every_combination_the_family_s_axes_first_then_seed_then_rate():
    made = runs(MANY)
    names = ("lambda", "temperature", "seed", "learning_rate")
    expected = list(itertools.product((0.5, 0.25), (1.0, 2.0, 3.0), (5, 6), (1e-3, 1e-2)))
    assert [tuple(one.values.items()) for one in made] == [tuple(zip(names, values)) for values in expected]
    assert [one.index for one in made] == list(range(24))
    assert [(one.seed, one.learning_rate) for one in made] == [values[2:] for values in expected]


def test_a_run_has_a_config_of_its_own_that_makes_that_run_alone():
    for one in runs(MANY):
        own = one.config
        assert (own.task.lambda_, own.loss.temperature) == ((one.values["lambda"],), (one.values["temperature"],))
        assert (own.train.learning_rate, own.train.first_seed, own.train.seeds) == ((one.learning_rate,), one.seed, 1)
        assert runs(own) == [dataclasses.replace(one, index=0)]
        assert run_of_single(own, index=11) == dataclasses.replace(one, index=11)
        # All else stays.
        rest = dataclasses.replace(
            own, task=MANY.task, loss=MANY.loss,
            train=dataclasses.replace(own.train, learning_rate=(1e-3, 1e-2), first_seed=5, seeds=2),
        )  # fmt: skip
        assert rest == MANY


def test_a_setting_is_what_is_compared_not_what_is_tuned_or_repeated():
    assert list(dict.fromkeys(one.setting for one in runs(MANY))) == [(0.5,), (0.25,)]


def test_axes_are_found_where_they_are_declared():
    assert [path for path, _ in axes_of(MANY)] == [
        ("task", "lambda_"), ("loss", "temperature"), ("train", "learning_rate"),
    ]  # fmt: skip


def test_a_label_tells_what_differs_the_seed_last():
    made = runs(MANY)
    assert made[0].label(made) == "λ 0.5, temperature 1, rate 0.001, seed 5"
    assert made[-1].label(made) == "λ 0.25, temperature 3, rate 0.01, seed 6"
    assert len({one.label(made) for one in made}) == len(made)
    two = [made[0], made[2]]
    assert [one.label(two) for one in two] == ["seed 5", "seed 6"]
    assert made[0].label(made[:1]) == "λ 0.5"  # what is always told
    assert (made[-1].name("always"), made[-1].name("setting")) == ("λ 0.25", "λ 0.25")


def test_a_run_without_an_axis_that_is_always_told_has_a_name_all_the_same():
    @dataclass(frozen=True)
    class Plain:
        train: TrainConfig = field(default_factory=TrainConfig)

    (one,) = runs(Plain())
    assert one.label([one]) == "the run"
    assert one.setting == ()


# ------------------------------------------------------------------------------------------ keys


def test_a_task_is_the_same_whatever_the_learning_rate():
    keys = {}
    for one in runs(MANY):
        keys.setdefault(task_key(one.config), []).append(one)
    assert [{(r.values["lambda"], r.values["temperature"], r.seed) for r in own} for own in keys.values()] == [
        {values} for values in itertools.product((0.5, 0.25), (1.0, 2.0, 3.0), (5, 6))
    ]
    (two,) = {len(own) for own in keys.values()}
    assert two == 2
    assert task_key(config(task={"name": "loaded"})) != task_key(config())
    assert task_key(config(train={"steps": 3})) != task_key(config())


def test_runs_share_a_shape_unless_they_differ_in_what_is_no_array():
    assert {shape_key(one.config) for one in runs(MANY)} == {shape_key(config())}
    assert shape_key(config(task={"bias": 0.9})) == shape_key(config())
    others = [{"task": {"width": 8}}, {"loss": {"name": "squared"}}, {"train": {"steps": 3}}]
    assert len({shape_key(config()), *(shape_key(config(**one)) for one in others)}) == 4


def without(config: Any, arrays: dict[str, set[str]]) -> str:
    """The shape as it was written before fields said what they are: all but the named keys, as JSON."""
    plain = {
        room: {key.rstrip("_"): one for key, one in values.items() if key.rstrip("_") not in arrays.get(room, ())}
        if isinstance(values, dict)
        else values
        for room, values in dataclasses.asdict(config).items()
    }
    return json.dumps(plain, sort_keys=True)


TRAINED = {"first_seed", "learning_rate"}


@pytest.mark.parametrize("base", [FiltersConfig(), small_filters()])
def test_shapes_of_filters_are_those_of_ledgers_written_before(base):
    """A sweep goes on only if its shapes are named by the same hashes."""
    own = {
        "task": {"lambda", "structure", "sigma", "condition", "moduli", "system_seed", "observation_noise"},
        "train": TRAINED,
    }
    changed = dataclasses.replace(
        base,
        task=dataclasses.replace(base.task, lambda_=(0.3,), sigma=2.5, condition=3.0, structure=("dense",)),
        train=dataclasses.replace(base.train, first_seed=9, learning_rate=(0.5,)),
    )
    wider = dataclasses.replace(base, task=dataclasses.replace(base.task, observed_dim=3))
    assert shape_key(base) == shape_key(changed) == without(base, own)
    assert shape_key(wider) == without(wider, own) != shape_key(base)


@pytest.mark.parametrize("base", BASES.values(), ids=map(" ".join, BASES))
def test_shapes_of_integers_are_those_of_ledgers_written_before(base):
    own = {"objective": {"alpha"}, "train": TRAINED}
    changed = dataclasses.replace(
        base,
        objective=dataclasses.replace(base.objective, alpha=(0.3,)),
        train=dataclasses.replace(base.train, first_seed=9, learning_rate=(0.5,)),
    )
    deeper = dataclasses.replace(base, model=dataclasses.replace(base.model, layers=base.model.layers + 1))
    assert isinstance(base, IntegersConfig)
    assert shape_key(base) == shape_key(changed) == without(base, own)
    assert shape_key(deeper) == without(deeper, own) != shape_key(base)


# ------------------------------------------------------------------------------------------ values in place of defaults


def test_values_stand_in_place_of_defaults_room_by_room():
    made = with_values(MANY, {"task": {"lambda": [0.9], "bias": "1e-3"}, "count": 3})
    expected = dataclasses.replace(MANY, count=3, task=dataclasses.replace(MANY.task, lambda_=(0.9,), bias=1e-3))
    assert made == expected
    assert with_values(MANY, {}) == MANY


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"task": {"lamda": 0.5}}, "task.lamda: unknown key; did you mean lambda?"),
        ({"tusk": {"lambda": 0.5}}, "tusk: unknown key; did you mean task?"),
        ({"task": {"width": 2.5}}, "task.width: 2.5 is not an int"),
        ({"task": 3}, "task.: expected a mapping"),
        ({"count": 0}, "--count 0: must be positive"),
    ],
)
def test_values_that_are_off_are_told_in_one_line(values, told):
    with pytest.raises(UserError) as error:
        with_values(DiceConfig(), values)
    assert str(error.value).startswith(told.replace("task.: ", "task: "))
    assert "\n" not in str(error.value)


def test_fields_by_name_alone_find_their_rooms():
    flat = {"lambda_": (0.9, 0.7), "steps": 3, "count": 2, "loss__name": "squared", "task__width": 8}
    assert nested(DiceConfig(), flat) == {
        "task": {"lambda": [0.9, 0.7], "width": 8},
        "train": {"steps": 3},
        "count": 2,
        "loss": {"name": "squared"},
    }
    assert nested(DiceConfig(), {"lambda": 0.9}) == nested(DiceConfig(), {"task__lambda_": 0.9})
    made = with_values(DiceConfig(), nested(DiceConfig(), flat))
    assert (made.task.lambda_, made.task.width, made.train.steps) == ((0.9, 0.7), 8, 3)
    assert (made.loss.name, made.task.name) == ("squared", "fair")


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("lamda", "lamda: no field of a config; did you mean lambda?"),
        ("name", "name: task__name and loss__name have this name; give one of them"),
        ("train__name", "train__name: no field of a config"),
        ("tusk__width", "tusk__width: no field of a config"),
    ],
)
def test_a_name_that_no_room_or_several_have_is_told(name, told):
    with pytest.raises(UserError) as error:
        nested(DiceConfig(), {name: 1})
    assert str(error.value).startswith(told)


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"task": {"lambda_": (0.1, 0.2)}}, "lambda"),
        ({"loss": {"temperature": (0.1, 0.2)}}, "temperature"),
        ({"train": {"learning_rate": (0.1, 0.2)}}, "learning_rate"),
        ({"train": {"seeds": 2}}, "learning_rate"),
    ],
)
def test_a_config_of_several_runs_is_none_of_a_single_one(changes, key):
    with pytest.raises(UserError, match=f"^{key}: a run of a sweep has one value; list them under values$"):
        only_run(config(**changes))
    assert only_run(config()) == config()


def test_there_and_back():
    assert from_dict(DiceConfig, to_dict(MANY)) == MANY
    assert "lambda" in to_dict(MANY)["task"]


# ------------------------------------------------------------------------------------------ changes of a sweep


@pytest.mark.parametrize(
    ("given", "becomes"),
    [
        ({"change": "nothing"}, {}),
        ({"change": "a.b=1"}, {"a": {"b": 1}}),
        ({"a": {"b": 0, "c": 2}, "change": "a.b=1 d=x"}, {"a": {"b": 1, "c": 2}, "d": "x"}),
        ({"change": "a.b='two words=3' a.c=4"}, {"a": {"b": "two words=3", "c": 4}}),
        ({"then": "a.b=2", "change": "a.b=1 a.c=1"}, {"a": {"b": 2, "c": 1}}),
    ],
)
def test_changes_are_applied_in_their_order(given, becomes):
    assert changed(given) == becomes


@pytest.mark.parametrize("change", ["a", "a.b", "a='b", "family.b=1", "a.b=[1, 2]"])
def test_a_change_that_is_none_is_one_line(change):
    with pytest.raises(UserError, match=r"^change: ") as error:
        changed({"family": "x", "change": change})
    assert "\n" not in str(error.value)


# ------------------------------------------------------------------------------------------ bounds


def whole_numbers_of_every_command() -> set[tuple[type, str]]:
    """Every field that holds whole numbers, of every command's flags and the configs in them."""
    found: set[tuple[type, str]] = set()

    def look(cls: type) -> None:
        hints = typing.get_type_hints(cls)
        for one in dataclasses.fields(cls):
            if dataclasses.is_dataclass(hints[one.name]):
                look(typing.cast(type, hints[one.name]))
            elif re.search(r"\bint\b|_Count", str(one.type)):
                found.add((cls, one.name))

    for command in commands().values():
        look(command.flags_class())
    return found


def test_every_whole_number_of_every_command_has_a_bound():
    fields = whole_numbers_of_every_command()
    assert len(fields) > 100
    for cls, name in fields:
        for value in (10**20, -(10**20), (1, 10**20)):
            given = object.__new__(cls)
            for one in dataclasses.fields(cls):
                object.__setattr__(given, one.name, None)
            object.__setattr__(given, name, value)
            with pytest.raises(UserError) as error:
                check_bounds(given)
            assert str(error.value).startswith(flag(name) + " "), (cls, name)


def test_a_class_says_how_large_its_own_numbers_may_be():
    @dataclass(frozen=True)
    class Wide:
        MOST: ClassVar[dict[str, int]] = {"width": 10}
        width: int = 3
        depth: tuple[int, ...] = (1,)
        on: bool = True

    @dataclass(frozen=True)
    class Wider(Wide):
        MOST: ClassVar[dict[str, int]] = {"height": 2**40}
        height: int = 2**40

    for sound in (Wide(10), Wide(-10), Wider(), Wide(depth=(2**31 - 1,))):
        check_bounds(sound)
    with pytest.raises(UserError, match="--width 11: at most 10"):
        check_bounds(Wider(11))
    with pytest.raises(UserError, match="--width -11: at least -10"):
        check_bounds(Wide(-11))
    with pytest.raises(UserError, match="--depth 2147483648: at most 2,147,483,647"):
        check_bounds(Wide(depth=(1, 2**31)))
    with pytest.raises(UserError, match="f: width 11: at most 10"):
        from_dict(Wide, {"width": 11}, "f: ")


def test_a_config_makes_no_more_runs_than_train_together():
    config = replace(FiltersConfig(), train=replace(FiltersConfig().train, seeds=10_000, learning_rate=(0.1, 0.2)))
    with pytest.raises(UserError, match="--seeds 10000: makes 20,000 runs in all, and at most 10,000 train together"):
        runs(config)
