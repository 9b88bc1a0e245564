"""`bestguess rolls make`: the same bytes whether it was interrupted or not, and nothing else is touched."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bestguess import cli
from bestguess.command import UserError, make_console
from bestguess.rolls import make as making
from bestguess.rolls.flags import MakeFlags
from bestguess.rolls.sources import SOURCES, source_of
from bestguess.rolls.sources.chains import Hmm


@pytest.fixture
def out(tmp_path):
    return tmp_path / "rolls.u16"


def make(out, **flags):
    return making.make(MakeFlags(out=out, **flags), make_console(json=True))


def refused(out, **flags) -> str:
    with pytest.raises(UserError) as caught:
        make(out, **flags)
    (line,) = str(caught.value).splitlines()
    return line


@pytest.mark.parametrize("name", list(SOURCES))
def test_a_file_and_its_side_file(out, name):
    found = make(out, source=name, n=3001, seed=5)
    raw = out.read_bytes()
    source = source_of(name, 5, {})
    expected = source.draw(source.start(), 3001)[0]
    np.testing.assert_array_equal(np.frombuffer(raw, "<u2"), expected)
    side = json.loads((out.parent / "rolls.u16.json").read_text())
    assert found["sha256"] == side["sha256"] == hashlib.sha256(raw).hexdigest()
    assert (found["path"], found["n"], found["source"]) == (str(out), 3001, name)
    assert found["floor_bits"] == side["floor"]["bits"] == source.floor().bits
    assert (side["source"], side["seed"], side["n"], side["classes"]) == (name, 5, 3001, source.classes)
    assert side["parameters"] == source.parameters()
    assert sorted(os.listdir(out.parent)) == ["rolls.u16", "rolls.u16.json"]


@pytest.mark.parametrize("name", ["hmm", "markov", "mt19937", "renewal", "dice-hmac", "repeat"])
def test_killed_at_any_piece_it_goes_on(out, name, monkeypatch):
    monkeypatch.setattr(making, "_CHUNK", 1000)
    whole = out.with_name("whole.u16")
    make(whole, source=name, n=9500)
    source_class, draws = SOURCES[name], 0
    draw = source_class.draw

    def killed(self, state, count):
        nonlocal draws
        draws += 1
        if draws % 4 == 0:
            raise KeyboardInterrupt
        return draw(self, state, count)

    for patience in (0.0, 1e9):  # a note after each piece, or none at all
        monkeypatch.setattr(making, "_BETWEEN_NOTES", patience)
        monkeypatch.setattr(source_class, "draw", killed)
        runs, draws = 0, 0
        if patience:
            with pytest.raises(KeyboardInterrupt):
                make(out, source=name, n=9500)
            assert not out.exists()
            monkeypatch.setattr(source_class, "draw", draw)
        while not out.exists():
            runs += 1
            try:
                make(out, source=name, n=9500)
            except KeyboardInterrupt:
                assert sorted(p.name for p in out.parent.glob("rolls*")) == ["rolls.u16.part", "rolls.u16.part.json"]
        assert runs == 1 if patience else runs >= 4  # a hidden chain's floor is measured on values, too
        assert out.read_bytes() == whole.read_bytes()
        assert not list(out.parent.glob("rolls*part*"))
        out.unlink()
        monkeypatch.setattr(source_class, "draw", draw)


def test_kill_9_and_again(out):
    command = [
        sys.executable,
        "-m",
        "bestguess",
        "rolls",
        "make",
        "--n",
        "3e6",
        "--source",
        "markov",
        "--out",
        str(out),
    ]
    code = "import sys; from bestguess.rolls import make; make._BETWEEN_NOTES, make._CHUNK = 0, 20_000\n" + (
        "from bestguess.cli import main; main(sys.argv[1:])"
    )
    process = subprocess.Popen([sys.executable, "-c", code, *command[3:]], stdout=subprocess.DEVNULL)
    note = out.with_name("rolls.u16.part.json")
    deadline = time.monotonic() + 60
    while not note.exists() and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert json.loads(note.read_text())["done"] < 3_000_000
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert re.search(r"resumed at \d[\d,]* values", done.stdout)
    source = source_of("markov", 0, {})
    expected = source.draw(source.start(), 3_000_000)[0].astype("<u2").tobytes()
    assert hashlib.sha256(out.read_bytes()).digest() == hashlib.sha256(expected).digest()


def test_several_processes_write_the_same(out, monkeypatch):
    monkeypatch.setattr(making, "_WORTH_A_PROCESS", 1)
    monkeypatch.setattr(making, "_CHUNK", 900)
    make(out, source="dice-hmac", n=10_000, processes=2)
    other = out.with_name("other.u16")
    make(other, source="dice-hmac", n=10_000, processes=1)
    assert out.read_bytes() == other.read_bytes()


def test_a_part_that_is_shorter_than_its_note_is_begun_again(out, monkeypatch):
    monkeypatch.setattr(making, "_CHUNK", 1000)
    monkeypatch.setattr(making, "_BETWEEN_NOTES", 0.0)
    draw, calls = Hmm.draw, []

    def killed(self, state, count):
        calls.append(count)
        if len(calls) == 4 and count == 1000:
            raise KeyboardInterrupt
        return draw(self, state, count)

    monkeypatch.setattr(Hmm, "floor", lambda self: source_of("iid", 0, {}).floor())
    monkeypatch.setattr(Hmm, "draw", killed)
    with pytest.raises(KeyboardInterrupt):
        make(out, n=5000)
    part = out.with_name("rolls.u16.part")
    os.truncate(part, 1234)
    make(out, n=5000)
    source = source_of("hmm", 0, {})
    np.testing.assert_array_equal(np.fromfile(out, "<u2"), draw(source, source.start(), 5000)[0])


def test_made_before(out):
    first = make(out, source="iid", n=500)
    before = out.stat().st_mtime_ns
    again = make(out, source="iid", n=500)
    assert again["sha256"] == first["sha256"]
    assert out.stat().st_mtime_ns == before
    assert "not made with these flags" in refused(out, source="iid", n=501)
    assert "not made with these flags" in refused(out, source="iid", n=500, seed=1)
    assert "not made with these flags" in refused(out, source="iid", n=500, alphabet=65)
    out.write_bytes(b"12" * 500)
    assert "changed since it was made" in refused(out, source="iid", n=500)


def test_what_is_in_the_way(out, tmp_path):
    out.write_bytes(b"precious")
    assert "exists" in refused(out, n=500)
    assert out.read_bytes() == b"precious"
    assert "is a folder" in refused(tmp_path, n=500)
    assert "no folder" in refused(tmp_path / "none" / "x.u16", n=500)
    other = tmp_path / "other.u16"
    (tmp_path / "elsewhere").write_bytes(b"precious")
    other.with_name("other.u16.part").symlink_to(tmp_path / "elsewhere")
    assert "cannot be opened" in refused(other, n=500)
    assert (tmp_path / "elsewhere").read_bytes() == b"precious"
    third = tmp_path / "third.u16"
    third.with_name("third.u16.part.json").write_text('{"source": "iid", "done": 3}')
    assert "begun with other flags" in refused(third, n=500)
    assert "make fewer" in refused(tmp_path / "fourth.u16", n=10**17)
    assert "--n 0" in refused(tmp_path / "fourth.u16", n=0)
    assert "--processes 0" in refused(tmp_path / "fourth.u16", processes=0)


def test_a_full_disk_is_one_line_and_the_same_command_resumes(out, monkeypatch):
    monkeypatch.setattr(making, "_CHUNK", 1000)
    monkeypatch.setattr(making, "_BETWEEN_NOTES", 0.0)
    make(out.with_name("whole.u16"), source="markov", n=5000)
    pwrite = os.pwrite

    def full(descriptor, data, offset):
        if offset >= 6000:
            raise OSError(errno.ENOSPC, "No space left on device")
        return pwrite(descriptor, data, offset)

    monkeypatch.setattr("os.pwrite", full)
    assert "cannot be written (the disk is full" in refused(out, source="markov", n=5000)
    assert json.loads(out.with_name("rolls.u16.part.json").read_text())["done"] == 3000
    monkeypatch.setattr("os.pwrite", pwrite)
    make(out, source="markov", n=5000)
    assert out.read_bytes() == out.with_name("whole.u16").read_bytes()


def test_names_too_long_are_refused_before_values_are_drawn(tmp_path, monkeypatch):
    monkeypatch.setattr(making, "_pieces", None)
    monkeypatch.setattr(Hmm, "floor", lambda self: source_of("iid", 0, {}).floor())
    for length in (246, 251, 300):
        assert "the name is too long" in refused(tmp_path / ("x" * length), n=500)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("damage", [{"done": "x"}, {"done": -1}, {"done": 10**9}, {"state": None, "done": None}])
def test_a_damaged_note_is_told(out, monkeypatch, damage):
    draw = Hmm.draw

    def killed(self, state, count):
        if state["index"] and count == 1000:
            raise KeyboardInterrupt
        return draw(self, state, count)

    monkeypatch.setattr(making, "_CHUNK", 1000)
    monkeypatch.setattr(making, "_BETWEEN_NOTES", 0.0)
    monkeypatch.setattr(Hmm, "floor", lambda self: source_of("iid", 0, {}).floor())
    monkeypatch.setattr(Hmm, "draw", killed)
    with pytest.raises(KeyboardInterrupt):
        make(out, n=5000)
    note = out.with_name("rolls.u16.part.json")
    note.write_text(json.dumps(json.loads(note.read_text()) | damage))
    assert "is damaged; delete it" in refused(out, n=5000)


@given(content=st.binary(max_size=60))
def test_any_bytes_as_a_note_or_a_side_file(content):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.json"
        path.write_bytes(content)
        found = making._json(path)
        assert found is None or isinstance(found, dict)


def test_two_at_once(out, monkeypatch):
    found = []

    def draw(self, state, count):
        found.append(refused(out, n=500))
        return np.zeros(count, np.uint16), state

    monkeypatch.setattr(Hmm, "floor", lambda self: source_of("iid", 0, {}).floor())
    monkeypatch.setattr(Hmm, "draw", draw)
    make(out, n=500)
    assert "another process is making it" in found[0]


@pytest.mark.parametrize(
    ("text", "n"),
    [("1e9", 10**9), ("300000", 300_000), ("1.5e3", 1500), ("2E+4", 20_000), ("12.50e2", 1250), ("0", 0)],
)
def test_counts(text, n):
    assert cli.parse("rolls make", ["--n", text])[0].n == n


@given(text=st.text(max_size=12))
def test_any_text_is_a_count_or_one_line(text):
    try:
        n = cli.parse("rolls make", [f"--n={text}"])[0].n
    except UserError as error:
        line = str(error)
    else:
        assert n == float(text)
        return
    assert "\n" not in line


@pytest.mark.parametrize("text", ["1e", "1.5", "1e30", "1e-3", "-5", "e9", "1_0", "nan", "1e9x", ""])
def test_what_is_no_count(text, capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(["rolls", "make", f"--n={text}"])
    assert stop.value.code == 2
    assert "--n" in capsys.readouterr().err


def test_every_parameter_of_every_source_is_a_flag():
    flags = MakeFlags()
    for name, source in SOURCES.items():
        assert name in MakeFlags.__annotations__["source"]
        for parameter in source().parameters():
            assert getattr(flags, parameter) is None
    taken = {parameter for source in SOURCES.values() for parameter in source().parameters()}
    every = {one for one in MakeFlags.__dataclass_fields__ if getattr(flags, one) is None}
    assert every == taken


@pytest.mark.parametrize("source", ["hmm", "dice-hmac"])
def test_the_command_prints_json_and_needs_no_jax(out, source):
    code = (
        "import sys; sys.modules.update(dict.fromkeys(['jax', 'jaxlib', 'equinox', 'optax', 'jaxtyping']))\n"
        f"from bestguess.cli import main; main(['rolls', 'make', '--n', '1e3', '--source', '{source}', "
        f"'--out', {str(out)!r}, '--json'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert set(json.loads(done.stdout)) >= {"path", "n", "source", "floor_bits", "sha256"}
