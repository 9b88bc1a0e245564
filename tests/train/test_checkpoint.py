"""Checkpoints: whole or not at all, and a damaged one is never taken for a sound one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from bestguess.command import UserError
from bestguess.files import lock, write_bytes
from bestguess.train.checkpoint import (
    DamagedCheckpoint,
    checkpoints,
    load_checkpoint,
    load_newest,
    save_checkpoint,
)
from tests.train.toy import Net, same


def tree(seed: int = 0):
    draw = np.random.default_rng(seed)
    f32 = np.float32
    return {
        "net": Net(draw.normal(size=(3, 3)).astype(f32), draw.normal(size=3).astype(f32), np.ones((3, 5), f32)),
        "pair": (np.asarray([True, False, True]), np.asarray([1, -7, 3], np.int32)),
        "scalar": np.asarray(seed + 0.5, f32),
        "empty": np.zeros((0, 3), f32),
    }


ABOUT = {"done": False, "note": "λ"}


@pytest.fixture
def saved(tmp_path) -> Path:
    return save_checkpoint(tmp_path, 1200, tree(), ABOUT)


def test_round_trip(saved):
    assert saved.name == "step-00001200.safetensors"
    loaded, step, about = load_checkpoint(saved, tree(1))
    assert (step, about) == (1200, ABOUT)
    same(loaded, tree())


dtypes = st.sampled_from([np.float32, np.float64, np.int32, np.uint32, np.bool_, np.float16])


@settings(max_examples=30, deadline=None)
@given(array=dtypes.flatmap(lambda d: hnp.arrays(d, hnp.array_shapes(min_dims=0, min_side=0))), step=st.integers(0))
def test_round_trip_of_any_array(tmp_path_factory, array, step):
    path = save_checkpoint(tmp_path_factory.mktemp("any"), step, {"x": array.T}, {})  # .T: not C-ordered
    loaded, found, _ = load_checkpoint(path, {"x": array.T})
    assert found == step
    same(loaded["x"], array.T)


def test_jax_arrays_and_bfloat16(tmp_path):
    tree = {"a": jnp.arange(7, dtype=jnp.bfloat16), "b": jnp.ones((2, 3))}
    loaded, _, _ = load_checkpoint(save_checkpoint(tmp_path, 0, tree, {}), tree)
    same(loaded, tree)


def test_the_file_is_safetensors_and_nothing_else(saved):
    """Read by hand: a length, a JSON header, the arrays' own bytes. There is no room for code."""
    data = saved.read_bytes()
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])
    assert set(header.pop("__metadata__")) == {"about", "step", "sha256"}
    spans = sorted(entry["data_offsets"] for entry in header.values())
    assert [start for start, _ in spans] == [0, *(end for _, end in spans)][: len(spans)]
    assert spans[-1][1] == len(data) - 8 - size
    first = header["net/first"]
    begin, end = first["data_offsets"]
    assert data[8 + size + begin : 8 + size + end] == tree()["net"].first.tobytes()
    assert b"pickle" not in data


def test_a_cut_off_file_is_damaged_at_every_length(saved):
    data = saved.read_bytes()
    lengths = {*range(40), *range(40, len(data), 17), len(data) - 1}
    for length in sorted(lengths):
        saved.write_bytes(data[:length])
        with pytest.raises(DamagedCheckpoint, match="step-00001200"):
            load_checkpoint(saved, tree())
    saved.write_bytes(data + b"\0")
    with pytest.raises(DamagedCheckpoint):
        load_checkpoint(saved, tree())
    saved.write_bytes(data)
    load_checkpoint(saved, tree())


def test_a_flipped_bit_is_damage_wherever_it_is(saved):
    """In the arrays, in their names and shapes, and in the step and the notes."""
    data = saved.read_bytes()
    for place in range(len(data)):
        flipped = bytearray(data)
        flipped[place] ^= 1 << (place % 8)
        saved.write_bytes(flipped)
        with pytest.raises(DamagedCheckpoint):
            load_checkpoint(saved, tree())


@pytest.mark.parametrize("content", [b"", b"hello", b"\x80\x05K\x01.", bytes(64), b"\xff" * 64])
def test_another_file_is_damaged(tmp_path, content):
    path = tmp_path / "step-00000001.safetensors"
    path.write_bytes(content)
    with pytest.raises(DamagedCheckpoint):
        load_checkpoint(path, tree())


def test_another_writers_safetensors_is_damaged(tmp_path):
    from safetensors.numpy import save_file

    path = tmp_path / "step-00000001.safetensors"
    save_file({"a": np.ones(3, np.float32)}, path)
    with pytest.raises(DamagedCheckpoint):
        load_checkpoint(path, {"a": np.ones(3, np.float32)})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"scalar": np.zeros(2, np.float32)}, r"scalar is float32\[\], the config asks for float32\[2\]"),
        ({"scalar": np.zeros((), np.int32)}, r"scalar is float32\[\], the config asks for int32\[\]"),
        ({"more": np.zeros(1, np.float32)}, r"more is missing, the config asks for float32\[1\]"),
    ],
)
def test_a_sound_checkpoint_of_another_model_is_no_damage(saved, change, message):
    with pytest.raises(UserError, match=message) as error:
        load_checkpoint(saved, tree() | change)
    assert "\n" not in str(error.value)


def test_a_checkpoint_of_another_config_is_told_by_that_and_not_by_its_arrays(tmp_path):
    part = tmp_path / "checkpoints" / "part-0"
    part.mkdir(parents=True)
    (tmp_path / "config.yaml").write_text("")
    save_checkpoint(part, 5, tree(), {"config_sha256": "of the one"})
    assert load_newest(part, tree(), "of the one")[0][1] == 5
    with pytest.raises(UserError, match=r"config\.yaml: does not match the weights in checkpoints/"):
        load_newest(part, tree() | {"more": np.zeros(1)}, "of the other")


def test_keeps_the_newest_two(tmp_path):
    for step in (5, 10, 100, 15):
        save_checkpoint(tmp_path, step, tree(), ABOUT)
    assert [path.name for path in checkpoints(tmp_path)] == ["step-00000015.safetensors", "step-00000100.safetensors"]


def test_falls_back_to_the_one_before_and_says_so(tmp_path):
    first = save_checkpoint(tmp_path, 5, tree(5), ABOUT)
    second = save_checkpoint(tmp_path, 10, tree(10), ABOUT)
    (loaded, step, _), damaged = load_newest(tmp_path, tree())
    assert (step, damaged) == (10, [])
    second.write_bytes(second.read_bytes()[:-3])
    (loaded, step, _), damaged = load_newest(tmp_path, tree())
    assert step == 5
    same(loaded, tree(5))
    assert len(damaged) == 1
    assert str(second) in damaged[0]
    first.write_bytes(b"")
    with pytest.raises(UserError, match="every checkpoint is damaged") as error:
        load_newest(tmp_path, tree())
    assert str(first) in str(error.value)
    assert "\n" not in str(error.value)


def test_an_empty_or_missing_folder_holds_none(tmp_path):
    assert load_newest(tmp_path, tree()) == (None, [])
    assert load_newest(tmp_path / "no", tree()) == (None, [])


# ------------------------------------------------------------------------------------------ atomicity


def test_a_write_that_is_cut_off_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "file"
    write_bytes(path, b"old")

    class Stopped(Exception):
        pass

    def stop(*args):
        raise Stopped

    for call in ("fsync", "replace"):
        with monkeypatch.context() as patch:
            patch.setattr(os, call, stop)
            with pytest.raises(Stopped):
                write_bytes(path, b"new")
        assert path.read_bytes() == b"old"
    write_bytes(path, b"new")
    assert path.read_bytes() == b"new"


def test_the_data_reach_the_disk_before_the_name_and_the_name_before_the_return(tmp_path, monkeypatch):
    calls = []
    fsync, replace = os.fsync, os.replace

    def what(fd):
        return "folder" if os.path.isdir(f"/proc/self/fd/{fd}") else "file"

    monkeypatch.setattr(os, "fsync", lambda fd: (calls.append(f"fsync {what(fd)}"), fsync(fd)))
    monkeypatch.setattr(os, "replace", lambda a, b: (calls.append("replace"), replace(a, b)))
    write_bytes(tmp_path / "file", b"data")
    assert calls == ["fsync file", "replace", "fsync folder"]


def test_what_a_cut_off_write_left_is_cleaned_up_and_never_read(tmp_path):
    part = tmp_path / ".step-00000009.safetensors.123.part"
    part.write_bytes(b"half")
    assert load_newest(tmp_path, tree()) == (None, [])
    save_checkpoint(tmp_path, 5, tree(), ABOUT)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["step-00000005.safetensors"]


# ----------------------------------------------------------------------------------------------- lock


def test_two_processes_cannot_train_in_one_folder(tmp_path):
    other = (
        "import sys; from pathlib import Path; from bestguess.files import lock\n"
        "from bestguess.command import UserError\n"
        "try:\n    with lock(Path(sys.argv[1])): print('got it')\n"
        "except UserError as error: print(error)"
    )

    def try_elsewhere() -> str:
        return subprocess.run(
            [sys.executable, "-c", other, tmp_path], capture_output=True, text=True, check=True
        ).stdout.strip()

    with lock(tmp_path):
        assert try_elsewhere() == f"{tmp_path}: another process is training here; wait for it, or stop it"
    # Given back, as it is when a process dies: the file stays, the lock does not.
    assert (tmp_path / ".lock").exists()
    assert try_elsewhere() == "got it"
