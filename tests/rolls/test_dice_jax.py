"""The dice made by JAX, here on a CPU: the values of hashlib, and the bytes of `rolls make` without the flag."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bestguess.command import UserError, make_console
from bestguess.rolls import make as making
from bestguess.rolls.flags import MakeFlags
from bestguess.rolls.sources import dice_jax
from bestguess.rolls.sources.dice import DiceHmac

SIZE = 50
"""Nonces in a batch, in every test: a size is compiled once for one block and once for two."""


@given(
    first=st.one_of(
        st.integers(0, 20).map(lambda digits: max(0, 10**digits - 30)),
        st.integers(0, 10**13).map(lambda multiple: multiple * 10**7 - 30).filter(lambda nonce: nonce >= 0),
        st.integers(0, 2**64),
    ),
    count=st.integers(0, 60),
    client=st.integers(0, 200).map("c".__mul__),
    server=st.sampled_from(["", "s", "s" * 65]),
)
@example(first=0, count=120, client="", server="")
@example(first=99_970, count=60, client="c" * 54, server="")
@example(first=9_999_970, count=60, client="c" * 49, server="")
@settings(deadline=None, max_examples=25)
def test_dice_from_jax_beside_hashlib(first, count, client, server):
    source = DiceHmac(seed=3, client_seed=client, server_seed=server)
    found = dice_jax.at(source, first, count, SIZE)
    assert found.dtype == np.uint16
    np.testing.assert_array_equal(found, source.one_by_one(first, count))


@pytest.mark.parametrize("length", range(40, 66))
def test_digits_at_every_place_of_a_block(length):
    source = DiceHmac(client_seed="c" * length)
    for first in (7, 123_456, 98_765_432):
        np.testing.assert_array_equal(dice_jax.at(source, first, 3, SIZE), source.one_by_one(first, 3))


@pytest.mark.parametrize("size", [0, 3, 1 << 22, 10**8])
def test_a_batch_that_would_differ_in_more_digits(size):
    with pytest.raises(ValueError, match=f"a batch of {size}"):
        dice_jax.at(DiceHmac(), 0, 10, size)


def test_few_batches_are_made_ahead(monkeypatch):
    made = []
    values_of = dice_jax.values_of
    monkeypatch.setattr(dice_jax, "values_of", lambda batch, size: made.append(size) or values_of(batch, size))
    pieces = dice_jax.batches(DiceHmac(), 1000, 1000 + 9 * SIZE, SIZE)
    assert [(len(values), len(made)) for values in pieces] == [(SIZE, min(n, 9)) for n in range(3, 12)]


@pytest.fixture
def on_jax(monkeypatch):
    """Make --device gpu take JAX's CPU and small batches."""
    monkeypatch.setattr(dice_jax, "require_gpu", lambda: None)
    monkeypatch.setattr(dice_jax, "BATCH", SIZE)


def make(out, **flags):
    flags = {"source": "dice-hmac", "n": 1234, "client_seed": "c" * 50} | flags
    return making.make(MakeFlags(out=out, **flags), make_console(json=True))


def test_the_flag_changes_neither_file(tmp_path, on_jax, monkeypatch):
    made = make(tmp_path / "cpu.u16")
    monkeypatch.setattr(DiceHmac, "at", None)
    found = make(tmp_path / "gpu.u16", device="gpu")
    assert found["sha256"] == made["sha256"]
    assert (tmp_path / "gpu.u16").read_bytes() == (tmp_path / "cpu.u16").read_bytes()
    assert (tmp_path / "gpu.u16.json").read_bytes() == (tmp_path / "cpu.u16.json").read_bytes()


@pytest.mark.parametrize("devices", [("gpu", "gpu"), ("gpu", "cpu"), ("cpu", "gpu")])
def test_interrupted_on_one_device_it_resumes_on_any(tmp_path, on_jax, monkeypatch, devices):
    make(tmp_path / "whole.u16")
    monkeypatch.setattr(making, "_CHUNK", 70)
    monkeypatch.setattr(making, "_BETWEEN_NOTES", 0.0)
    out, pieces = tmp_path / "rolls.u16", 0
    append = making.files.GrowingFile.append

    def killed(self, data):
        nonlocal pieces
        pieces += 1
        if pieces == 9:
            raise KeyboardInterrupt
        append(self, data)

    monkeypatch.setattr(making.files.GrowingFile, "append", killed)
    with pytest.raises(KeyboardInterrupt):
        make(out, device=devices[0])
    assert 0 < json.loads(out.with_name("rolls.u16.part.json").read_text())["done"] < 1234
    make(out, device=devices[1])
    assert out.read_bytes() == (tmp_path / "whole.u16").read_bytes()


def test_the_flag_without_a_gpu_or_for_another_source(tmp_path):
    for flags, line in [
        ({}, "--device gpu: JAX sees no GPU here; drop the flag"),
        ({"source": "iid", "client_seed": None}, "--device gpu: iid is made on the CPU alone; drop the flag"),
    ]:
        with pytest.raises(UserError) as caught:
            make(tmp_path / "rolls.u16", device="gpu", **flags)
        assert str(caught.value) == line
    assert list(tmp_path.iterdir()) == []


def test_a_platform_that_jax_cannot_start_is_one_line():
    code = (
        "import os; os.environ['JAX_PLATFORMS'] = 'cuda'\n"
        "from bestguess.rolls.sources.dice_jax import require_gpu\n"
        "from bestguess.command import UserError\n"
        "try: require_gpu()\n"
        "except UserError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout in ("", "--device gpu: JAX sees no GPU here; drop the flag\n"), done.stderr
    assert done.returncode == 0, done.stderr
