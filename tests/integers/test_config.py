"""The flags of a training: the choices of the original design, bases, and one clear line for what is impossible."""

from __future__ import annotations

import dataclasses

import pytest

from bestguess.cli import parse
from bestguess.command import UserError
from bestguess.config import from_dict, runs, to_dict
from bestguess.integers.config import BASES, WIDTHS, IntegersConfig, digits, document, lifted


def change(config: IntegersConfig, **rooms) -> IntegersConfig:
    return dataclasses.replace(
        config, **{room: dataclasses.replace(getattr(config, room), **values) for room, values in rooms.items()}
    )


def test_the_choices_of_the_original_design():
    d = document()
    assert (d.task.length, d.task.lengths, d.task.curriculum) == (8, "fixed", "gradual")
    assert (d.model.embedding, d.model.lift, d.model.d_model) == ("pair", False, 2)
    assert (d.model.positions, d.model.activation, d.model.dropout) == ("none", "gelu", 0.0)
    assert (d.model.norm, d.model.norm_place, d.model.heads, d.model.d_ff) == ("layer", "post", 2, 32)
    assert d.model.layers in (2, 3)
    assert d.objective.masked == "included"
    assert (d.objective.loss, d.objective.alpha, d.objective.prefixes) == ("weighted", (0.1,), "all")
    t = d.train
    assert (t.batch_size, t.warmup_steps, t.validate_every, t.validation_sequences) == (32, 5000, 1000, 100)
    assert t.learning_rate[0] * t.final_learning_rate == pytest.approx(1e-6)
    assert (t.optimizer, t.beta1, t.beta2, t.weight_decay, t.clip_norm) == ("adamw", 0.9, 0.999, 0.01, 1.0)
    assert (t.patience, t.min_delta, t.min_decrease, t.schedule) == (10, 0.0, 0.001, "cosine")
    assert d.task.validation == 0
    assert t.fresh_validation
    assert 50 <= t.steps / t.validate_every <= 100  # epochs


def test_the_earlier_reading_is_what_older_folders_hold():
    d = digits()
    assert (d.model.embedding, d.model.activation, d.model.positions) == ("tuple", "relu", "learned")
    assert (d.objective.masked, d.train.min_delta, d.train.min_decrease) == ("ignored", 0.001, 0.0)
    assert not d.train.fresh_validation
    old = to_dict(d)
    for name in ("fresh_validation", "min_decrease"):
        del old["train"][name]
    assert from_dict(IntegersConfig, old, complete=True) == d
    old["train"]["epochs"] = 50  # a key of before, which had set the steps
    assert from_dict(IntegersConfig, old, complete=True) == d
    with pytest.raises(UserError, match=r"train\.epochs: unknown key"):
        from_dict(IntegersConfig, old)


def test_epochs_set_the_steps():
    def steps(*argv: str) -> int:
        return parse("integers train", ["--design", "document", *argv])[0].config().train.steps

    assert steps("--epochs", "100") == 100_000
    assert steps("--epochs", "0.5", "--validate-every", "300", "--warmup-steps", "7") == 150
    with pytest.raises(UserError, match="--epochs -1"):
        steps("--epochs", "-1")
    with pytest.raises(UserError, match="--epochs: says what --steps says"):
        steps("--epochs", "1", "--steps", "6000")


def test_lifting_changes_the_width_alone():
    changed = {
        f"{room}.{key}"
        for room, values in to_dict(lifted()).items()
        for key, value in values.items()
        if value != to_dict(document())[room][key]
    }
    assert changed == {"model.d_model", "model.lift"}


@pytest.mark.parametrize("base", BASES, ids=str)
def test_every_base_is_possible_and_survives_its_file(base):
    BASES[base].check()
    assert from_dict(IntegersConfig, to_dict(BASES[base]), complete=True) == BASES[base]


def test_flags_begin_at_a_design_of_a_preset():
    flags, _ = parse("integers train", ["--design", "document", "--preset=small", "--heads", "1"])
    expected = BASES["small", "document"]
    assert flags.config() == change(expected, model={"heads": 1})
    assert (flags.design, flags.preset) == ("document", "small")
    assert parse("integers train", [])[0].config() == IntegersConfig()
    with pytest.raises(UserError, match="--design documnt: unknown; did you mean document"):
        parse("integers train", ["--design", "documnt"])


@pytest.mark.parametrize(
    ("rooms", "message"),
    [
        ({"task": {"length": 17}}, "--length 17: must be from 2 to 16"),
        ({"task": {"phases": 4}}, "--phases 4: must be 1, 2 or 3"),
        ({"task": {"held_out": 1.0}}, "--held-out 1: must lie between"),
        ({"task": {"held_out": 0.5, "validation": 0.5}}, "--validation 0.5: must not be negative, and --held-out 0.5"),
        ({"model": {"lift": False}}, "has {} features; use --d-model {} or --lift"),
        ({"objective": {"alpha": ()}}, "--alpha : give each value once"),
        ({"objective": {"alpha": (0.1, 0.1)}}, "--alpha 0.1 0.1: give each value once"),
        ({"objective": {"alpha": (-1.0,)}}, "--alpha -1: must be finite and not negative"),
        ({"objective": {"alpha": (0.1, 1.0)}}, "several only with --loss weighted"),
        ({"objective": {"masked_weight": float("nan")}}, "--masked-weight nan: must be finite"),
        ({"train": {"schedule": "exponential"}}, "never reaches --final-learning-rate 0; give a fraction"),
        ({"train": {"schedule": "step"}}, "never reaches --final-learning-rate 0; give a fraction"),
        ({"train": {"clip_value": 0.0}}, "--clip-value 0.0: must be positive"),
    ],
)
def test_what_is_impossible_is_told_by_its_flag(rooms, message):
    config = change(IntegersConfig(), **rooms)
    width = WIDTHS[config.model.embedding]
    with pytest.raises(UserError) as error:
        config.check()
    assert message.format(width, width) in str(error.value)


def test_runs_are_alphas_seeds_and_rates_in_order():
    config = change(
        IntegersConfig(),
        objective={"loss": "weighted", "alpha": (0.0, 0.1)},
        train={"seeds": 2, "first_seed": 3, "learning_rate": (1e-3, 1e-2)},
    )
    every = runs(config)
    assert [(r.values["alpha"], r.seed, r.learning_rate) for r in every] == [
        (alpha, seed, rate) for alpha in (0.0, 0.1) for seed in (3, 4) for rate in (1e-3, 1e-2)
    ]
    for one in every:
        own = one.config
        assert own.objective.alpha == (one.values["alpha"],)
        assert (own.train.first_seed, own.train.seeds, own.train.learning_rate) == (one.seed, 1, (one.learning_rate,))
    assert every[1].label(every) == "α 0, rate 0.01, seed 3"
    (alone,) = runs(IntegersConfig())
    assert alone.label([alone]) == "the run"
