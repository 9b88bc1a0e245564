"""A training that takes a CPU hours says so before it begins."""

from __future__ import annotations

import dataclasses

import pytest

from bestguess.filters.config import FiltersConfig
from bestguess.filters.family import FAMILY as filters
from bestguess.integers.config import BASES, IntegersConfig
from bestguess.integers.family import FAMILY as integers
from bestguess.train.cores import hours_on
from bestguess.workflow import commands


def test_the_estimate_counts_six_operations_for_each_weight_of_the_blocks_and_token():
    tokens, d_model, layers, steps = 4096, 256, 4, 86_000
    operations = 6 * (12 * layers * d_model**2) * tokens * steps
    alone = hours_on(1, tokens * d_model**2, layers, steps)
    assert alone * 3600 * 6e10 == pytest.approx(operations)
    assert hours_on(8, tokens * d_model**2, layers, steps) == pytest.approx(alone / 8)


@pytest.mark.parametrize(("family", "config"), [(integers, IntegersConfig()), (filters, FiltersConfig())])
def test_a_default_for_a_gpu_is_told_and_a_short_one_is_not(family, config, monkeypatch):
    monkeypatch.setattr(commands, "usable_cores", lambda: 2)

    def told(one, runs=1):
        return commands._long(family.works.of(one), one, runs)

    (line,) = told(config)
    hours = int(line.split()[1].replace(",", ""))
    assert hours > 5
    assert "on 2 cores" in line
    (several,) = told(config, runs=10)
    assert int(several.split()[1].replace(",", "")) == pytest.approx(10 * hours, rel=0.1)
    assert told(dataclasses.replace(config, train=dataclasses.replace(config.train, steps=10))) == []


def test_a_family_that_does_not_tell_its_tokens_is_not_told(monkeypatch):
    monkeypatch.setattr(commands, "usable_cores", lambda: 1)
    works = integers.works
    assert commands._long(works, IntegersConfig(), 1) != []
    monkeypatch.setattr(works, "tokens", lambda config: None)
    assert commands._long(works, IntegersConfig(), 1) == []


def test_the_small_preset_is_not_told(monkeypatch):
    monkeypatch.setattr(commands, "usable_cores", lambda: 1)
    small = BASES["small", "default"]
    assert commands._long(integers.works, small, 1) == []
