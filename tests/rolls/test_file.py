"""A file of values: read right at any place, and told in one line where it is none."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bestguess.command import UserError
from bestguess.rolls import file as files
from bestguess.rolls.file import RollsFile


@pytest.fixture
def path(tmp_path):
    return tmp_path / "some.u16"


def refused(path, **more) -> str:
    with pytest.raises(UserError) as caught:
        RollsFile(path, **more)
    (line,) = str(caught.value).splitlines()
    assert str(path) in line
    return line


@given(content=st.binary(max_size=200), least=st.integers(1, 40))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_any_bytes(path, content, least):
    path.write_bytes(content)
    if len(content) % 2 or len(content) < 2 * least:
        said = refused(path, least=least)
        assert ("empty" in said) == (not content)
        assert ("odd" in said) == bool(len(content) % 2)
        return
    expected = np.frombuffer(content, "<u2")
    with RollsFile(path, least=least) as file:
        assert file.n == len(expected)
        np.testing.assert_array_equal(file.read(0, file.n), expected)
        summary = file.summary()
    assert summary.n == len(expected)
    assert summary.distinct == len(set(expected.tolist()))
    assert (summary.lowest, summary.highest) == (expected.min(), expected.max())
    assert summary.sha256 == hashlib.sha256(content).hexdigest()


def test_values_are_little_endian(path):
    path.write_bytes(b"\x01\x02\xff\x00")
    with RollsFile(path) as file:
        assert file.read(0, 2).tolist() == [0x0201, 0x00FF]


def test_parts_of_a_file_in_buffers_that_do_not_divide_it(path, monkeypatch):
    monkeypatch.setattr(files, "_BUFFER", 7)
    values = np.random.default_rng(0).integers(0, 65536, 101).astype("<u2")
    values.tofile(path)
    with RollsFile(path) as file:
        pieces = [piece.copy() for piece in file.chunks(3, 90)]
        assert max(map(len, pieces)) == 7
        np.testing.assert_array_equal(np.concatenate(pieces), values[3:90])
        summary = file.summary([(0, 5), (50, 101)])
        expected = np.concatenate([values[:5], values[50:]])
        np.testing.assert_array_equal(summary.counts, np.bincount(expected, minlength=65536))
        assert summary.sha256 == hashlib.sha256(expected.tobytes()).hexdigest()
        assert len(file.read(101, 101)) == 0
        for start, stop in ((-1, 3), (90, 102)):
            with pytest.raises(ValueError, match="outside"):
                file.read(start, stop)


def test_what_is_no_file_of_values(tmp_path, path):
    os.mkfifo(tmp_path / "pipe")
    assert "not a regular file" in refused(tmp_path / "pipe")
    assert "it is a folder" in refused(tmp_path)
    assert "no such file" in refused(path, flag="--u16-path")
    with pytest.raises(UserError, match=r"zero\\x00byte: a path cannot hold a zero byte"):
        RollsFile(Path("zero\0byte"))
    path.touch()
    assert "--u16-path" in refused(path, flag="--u16-path")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read(path):
    path.write_bytes(b"1234")
    path.chmod(0)
    assert "denied" in refused(path)


def test_a_file_that_changes_is_told(path):
    np.arange(9, dtype="<u2").tofile(path)
    with RollsFile(path) as file:
        path.write_bytes(b"1234")
        with pytest.raises(UserError, match="was written to while it was read"):
            file.check_untouched()
        with pytest.raises(UserError, match="became shorter"):
            file.read(5, 9)


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="needs /proc")
def test_opening_leaves_no_descriptor_behind(path):
    path.write_bytes(b"123")
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        refused(path)
    path.write_bytes(b"1234")
    with RollsFile(path):
        assert len(os.listdir("/proc/self/fd")) == before + 1
    assert len(os.listdir("/proc/self/fd")) == before
