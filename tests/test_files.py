"""The only door to the outside: whatever lies there gives a value or one clear line, and nothing outside is changed."""

from __future__ import annotations

import contextlib
import errno
import gzip
import hashlib
import io
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bestguess import files
from bestguess.cli import main
from bestguess.command import Absent, UserError, labelled, make_console, shown
from bestguess.files import Unreadable
from bestguess.report.charts import Chart, Line
from bestguess.report.page import Page
from bestguess.report.render import to_svg
from bestguess.report.trackers import open_trackers, read_metrics
from bestguess.sweep.lease import acquire
from bestguess.sweep.ledger import Ledger
from bestguess.sweep.plan import Round, plan
from bestguess.sweep.spec import parse_spec
from bestguess.train.checkpoint import load_newest, save_checkpoint
from bestguess.train.folder import new_folder, read_config, write_config
from tests.sweep.toy_family import __name__ as TOY

any_input = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(autouse=True)
def owned(monkeypatch):
    """Every test begins with no folder of its own."""
    monkeypatch.setattr("bestguess.files.places._owned", set())


def one_line(error: pytest.ExceptionInfo, path: object) -> str:
    text = str(error.value)
    assert str(path) in text
    assert text.isprintable()
    return text


# --------------------------------------------------------------------------------- any bytes, any name

READERS = {
    "yaml": files.read_yaml,
    "json": files.read_json,
    "jsonl": files.read_json_lines,
    "text": files.read_text,
    "npz": files.read_npz,
    "safetensors": files.read_safetensors,
    "metrics": read_metrics,
    "stream": lambda path: whole_of(files.stream(path)),
    "text stream": lambda path: whole_of(files.text_stream(path)),
}


def whole_of(opened: contextlib.AbstractContextManager) -> bytes | str:
    with opened as file:
        return file.read()


def packed(**members: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(f"{name}.npy", data)
    return buffer.getvalue()


def npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def tensors(header: object, data: bytes = b"", length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return (len(text) if length is None else length).to_bytes(8, "little") + text + data


SOUND = {
    "yaml": b"a: [1, 2.5, {b: null}]\nc: &x {d: 'e'}\nf: *x\n",
    "json": b'{"a": [1, 2.5, null, "\\u0041"]}',
    "jsonl": b'{"step": 1, "run": 0}\n{"step": 2, "run": 0, "loss": null}\n',
    "npz": packed(a=npy(np.arange(6.0).reshape(2, 3)), b=npy(np.array("text"))),
    "safetensors": tensors({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}, bytes(8)),
}


@pytest.mark.parametrize("kind", READERS)
@any_input
@given(data=st.binary(max_size=300))
def test_any_bytes_are_a_value_or_one_line(tmp_path, kind, data):
    path = tmp_path / "x"
    path.write_bytes(data)
    with contextlib.suppress(UserError):
        READERS[kind](path)


@pytest.mark.parametrize("kind", SOUND)
@any_input
@given(place=st.floats(0, 0.9999), byte=st.integers(0, 255), cut=st.booleans())
def test_so_are_a_sound_files_bytes_with_one_altered_or_cut_off(tmp_path, kind, place, byte, cut):
    data = bytearray(SOUND[kind])
    at = int(place * len(data))
    data[at] = byte
    path = tmp_path / "x"
    path.write_bytes(data[:at] if cut else data)
    with contextlib.suppress(UserError):
        READERS[kind](path)


@pytest.mark.parametrize("kind", SOUND)
def test_sound_files_are_read(tmp_path, kind):
    path = tmp_path / "x"
    path.write_bytes(SOUND[kind])
    assert READERS[kind](path)


yaml_like = st.text(alphabet="ab01.:-[]{}&*!?<>|\"'#%@ \n\t~,eE+", max_size=80)


@any_input
@given(text=yaml_like | st.text(max_size=60))
def test_any_text_as_yaml_is_plain_values_or_one_line(text):
    with contextlib.suppress(UserError):
        json.dumps(files.parse_yaml(text, "x"), default=lambda value: pytest.fail(f"{value!r}"))


texts = st.text(st.characters(exclude_categories=["C", "Zl", "Zp"]))
"""Not those that PyYAML itself does not give back, such as a key that is one U+0085."""
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | texts,
    lambda inside: st.lists(inside, max_size=4) | st.dictionaries(texts, inside, max_size=4),
    max_leaves=20,
)


@any_input
@given(value=values)
def test_what_is_written_is_what_is_read(tmp_path, value):
    if isinstance(value, dict | list):
        files.write_yaml(tmp_path / "x.yaml", value)
        assert files.read_yaml(tmp_path / "x.yaml") == value
    files.write_json(tmp_path / "x.json", value)
    assert files.read_json(tmp_path / "x.json") == files.plain(value)


@any_input
@given(name=st.text(min_size=1, max_size=300))
def test_any_name_of_a_file_is_one_that_can_be_written_and_read_or_one_line(tmp_path, name):
    said = ""
    try:
        path = files.within(tmp_path / "in", name)
        files.write_bytes(path, b"x")
        assert files.read_bytes(path) == b"x"
    except UserError as error:
        said = str(error)
    assert said == shown(said)
    assert set(os.listdir(tmp_path)) <= {"in"}


def test_files_are_written_as_they_always_were(tmp_path):
    files.write_json(tmp_path / "a", {"λ": [1, float("nan")]})
    assert (tmp_path / "a").read_bytes() == b'{\n "\\u03bb": [\n  1,\n  null\n ]\n}\n'
    files.write_yaml(tmp_path / "b", {"λ": [1e-4], "a": float("inf")})
    assert (tmp_path / "b").read_text() == "λ:\n- 0.0001\na: .inf\n"
    with pytest.raises(ValueError, match="JSON compliant"):
        files.json_bytes(float("nan"))


# ------------------------------------------------------------------------------------ bombs and bounds

BOMB = "a: &a [x,x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{b}: &{b} [{','.join([f'*{a}'] * 10)}]\n" for a, b in zip("abcdefgh", "bcdefghi")
)
MERGES = "a: &a {x: 1}\n" + "".join(
    f"{b}: &{b} {{<<: [{','.join([f'*{a}'] * 10)}]}}\n" for a, b in zip("abcdefgh", "bcdefghi")
)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (BOMB, "values once its aliases are written out"),
        (MERGES, "values once its aliases are written out"),
        ("&a [*a]", "an alias refers to a value that contains it"),
        ("[" * 5000, "nested more than 50 deep"),
        ("a:\n" + "".join(" " * i + "- \n" for i in range(1, 900)), "nested more than 50 deep"),
        ("a: 1\nb: 2\na: 3", "the key 'a' occurs twice; line 3"),
        ("x: {1: a, 01: b}", "the key 1 occurs twice"),
        ("a: 2026-01-01", "is a date"),
        ("a: 2026-99-99", "month must be in"),
        ("!!set {a}", "is a set"),
        ("!!binary aGk=", "is a bytes"),
        ("!!python/object/apply:os.system ['true']", "could not determine a constructor"),
        ("a: 0b_", "invalid literal"),
        ("x" * 2_000_000, "at most 1,048,576 are read"),
    ],
)
def test_yaml_that_is_a_trap_is_refused_at_once(text, says):
    began = time.process_time()
    with pytest.raises(Unreadable, match=says) as error:
        files.parse_yaml(text, "some.yaml")
    assert time.process_time() - began < 30  # each of them takes milliseconds; unbounded ones never end
    one_line(error, "some.yaml: not YAML")


def test_yaml_with_honest_aliases_and_merges_is_read():
    text = "base: &b {x: 1, y: 2}\nother: &c {<<: *b, y: 3}\nthird: {<<: *c, z: [*b, *b]}"
    base = {"x": 1, "y": 2}
    assert files.parse_yaml(text, "") == {
        "base": base, "other": {"x": 1, "y": 3}, "third": {"x": 1, "y": 3, "z": [base, base]}
    }  # fmt: skip


def test_json_that_is_nested_deeply_is_one_line(tmp_path):
    for read in (files.read_json, read_metrics):
        (tmp_path / "x").write_text("[" * 1_000_000 + "\n\n")
        with pytest.raises(Unreadable) as error:
            read(tmp_path / "x")
        one_line(error, tmp_path / "x")


def test_a_file_too_large_is_not_read(tmp_path):
    with (tmp_path / "x").open("wb") as file:
        file.truncate(10**12)  # sparse: it takes no room
    for read in (files.read_yaml, files.read_json, files.read_json_lines, files.read_npz):
        with pytest.raises(Unreadable, match=r"has 1,000,000,000,000 bytes, and at most"):
            read(tmp_path / "x")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x01",
        tensors({}, length=2**63),
        tensors(b" " * 20_000_000),
        tensors({"a": {"dtype": "F32", "shape": [10**12], "data_offsets": [0, 8]}}, bytes(8)),
        tensors({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 4 * 10**12]}}, bytes(8)),
        tensors({"a": {"dtype": "F32", "shape": [2**62, 4], "data_offsets": [0, 0]}}),
        tensors({"a": {"dtype": "F32", "shape": [-2, -1], "data_offsets": [0, 8]}}, bytes(8)),
        tensors({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}, bytes(9)),
        tensors({"a": {"dtype": "F4", "shape": [2], "data_offsets": [0, 1]}}, bytes(1)),
        tensors({"a": {"dtype": "PICKLE", "shape": [2], "data_offsets": [0, 8]}}, bytes(8)),
        tensors(b"[" * 100_000),
    ],
)
def test_safetensors_that_lie_are_refused(tmp_path, data):
    (tmp_path / "x").write_bytes(data)
    with pytest.raises(Unreadable) as error:
        files.read_safetensors(tmp_path / "x")
    one_line(error, tmp_path / "x")


def lying_npy(shape: str, dtype: str = "<f8") -> bytes:
    header = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}".encode()
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + bytes(16)


@pytest.mark.parametrize(
    "data",
    [
        packed(a=lying_npy("(1000000000000,)")),
        packed(a=lying_npy("(1000000000,)")),
        packed(a=lying_npy("(3,)")),
        packed(a=lying_npy("(1,)")),
        packed(a=lying_npy("(-2,)")),
        packed(a=lying_npy("(2,)", "|O")),
        packed(a=lying_npy("__import__('os')")),
        packed(a=npy(np.array([{}], dtype=object))),
        packed(a=b"text"),
        packed(a=bytes(2 * 10**6)),  # two kilobytes that unpack to two megabytes
    ],
)
def test_npz_that_lie_are_refused(tmp_path, data):
    (tmp_path / "x").write_bytes(data)
    tracemalloc.start()
    try:
        with pytest.raises(Unreadable) as error:
            files.read_npz(tmp_path / "x", limit=10**6)
        assert tracemalloc.get_traced_memory()[1] < 10**8
    finally:
        tracemalloc.stop()
    one_line(error, tmp_path / "x")


# --------------------------------------------------------------------------- what is no file to be read


@pytest.fixture(params=["pipe", "folder", "socket", "device", "loop", "missing"])
def other(request, tmp_path, monkeypatch) -> Path:
    """Something in a file's place."""
    path = tmp_path / "other"
    monkeypatch.chdir(tmp_path)
    match request.param:
        case "pipe":
            os.mkfifo(path)
        case "folder":
            path.mkdir()
        case "socket":
            with socket.socket(socket.AF_UNIX) as bound:
                bound.bind("other")  # a socket's path must be short
        case "device":
            return Path("/dev/zero")
        case "loop":
            path.symlink_to(path)
    return path


@pytest.mark.parametrize("read", [name for name in READERS if name != "json"])
def test_what_is_no_file_is_one_line_and_no_wait(other, read):
    with pytest.raises(Unreadable, match="cannot be read") as error:
        READERS[read](other)
    one_line(error, other)


@any_input
@given(place=st.floats(0, 0.9999), byte=st.integers(0, 255), cut=st.booleans())
def test_a_packed_file_with_one_byte_altered_or_cut_off_is_read_or_one_line(tmp_path, place, byte, cut):
    data = bytearray(gzip.compress(b"text " * 50) + gzip.compress(b"and more"))
    at = int(place * len(data))
    data[at] = byte
    path = tmp_path / "x.gz"
    path.write_bytes(data[:at] if cut else data)
    said = ""
    try:
        whole_of(files.stream(path))
    except Unreadable as error:
        said = str(error)
    assert said == shown(said)
    assert not said or "not a whole gzip file" in said


def test_packed_files_are_unpacked_and_the_others_are_not(tmp_path):
    data = gzip.compress("größer\r\n".encode()) + gzip.compress(b"and more")
    for name in ("x.gz", "x.bin"):
        (tmp_path / name).write_bytes(data)
    assert whole_of(files.stream(tmp_path / "x.bin")) == data
    assert whole_of(files.text_stream(tmp_path / "x.gz")) == "größer\r\nand more"


def test_a_packed_file_is_unpacked_no_further_than_its_bound(tmp_path):
    (tmp_path / "x.gz").write_bytes(gzip.compress(bytes(50_000_000)))
    tracemalloc.start()
    try:
        with pytest.raises(Unreadable, match=r"holds more than 1,000,000 bytes; make it smaller") as error:
            whole_of(files.stream(tmp_path / "x.gz", 1_000_000, "; make it smaller"))
        assert tracemalloc.get_traced_memory()[1] < 10**7
    finally:
        tracemalloc.stop()
    one_line(error, tmp_path / "x.gz")
    with files.stream(tmp_path / "x.gz", 3_000_000) as file:
        assert file.read(1000) == bytes(1000)  # what is not read is not counted


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-be"])
def test_a_mark_at_the_start_says_what_encoding_it_is(tmp_path, encoding):
    text = "größer 你\n"
    mark = "\ufeff" if encoding == "utf-16-be" else ""
    (tmp_path / "x").write_bytes((mark + text).encode(encoding))
    assert whole_of(files.text_stream(tmp_path / "x", "ascii")) == text


def test_text_in_another_encoding_is_one_line(tmp_path):
    (tmp_path / "x").write_bytes("größer".encode("latin-1"))
    with pytest.raises(Unreadable, match=r"not text in UTF-8 \(the byte 0xf6: invalid start byte\); say so") as error:
        whole_of(files.text_stream(tmp_path / "x", encoding_fix="; say so"))
    one_line(error, tmp_path / "x")
    assert whole_of(files.text_stream(tmp_path / "x", "latin-1")) == "größer"


def test_a_folders_files_are_listed_in_order_without_hidden_ones_and_links_to_folders(tmp_path):
    for name in ("b.txt", "a/z.txt", "a/b/c", "a.txt", ".git/x", "a/.y", "out/x"):
        files.write_bytes(tmp_path / "in" / name, b"")
    files.write_bytes(tmp_path / "elsewhere" / "x", b"")
    (tmp_path / "in" / "link").symlink_to(tmp_path / "elsewhere")
    found = files.files_in(tmp_path / "in", {"out"})
    assert [str(path.relative_to(tmp_path / "in")) for path in found] == ["a/b/c", "a/z.txt", "a.txt", "b.txt"]


def test_a_folder_that_cannot_be_listed_is_one_line(tmp_path):
    with pytest.raises(Absent, match="no such file or folder"):
        files.files_in(tmp_path / "none")


def test_nothing_but_a_file_is_written_over(other):
    if not os.path.lexists(other) or other.is_symlink():
        return
    before = os.lstat(other)
    for write in (files.check_writable, lambda path: files.write_bytes(path, b"x")):
        with pytest.raises(Unreadable, match="cannot be written"):
            write(other)
    assert os.lstat(other).st_ino == before.st_ino


@pytest.mark.parametrize("name", [".lock", "metrics.jsonl"])
def test_a_pipe_in_the_place_of_a_file_that_is_kept_open_is_no_wait(tmp_path, name):
    os.mkfifo(tmp_path / name)
    with pytest.raises(UserError, match="not a regular file"):
        files.lock(tmp_path).__enter__() if name == ".lock" else files.Appender(tmp_path / name)


@pytest.mark.parametrize(
    ("code", "says"),
    [
        (errno.ENOSPC, "the disk is full; free some space"),
        (errno.EACCES, "permission denied"),
        (errno.EROFS, "read-only"),
        (errno.EDQUOT, "quota"),
        (errno.EMFILE, "too many open files"),
        (errno.EIO, "the disk reports an error"),
    ],
)
@pytest.mark.parametrize("call", ["os.open", "os.fsync", "os.replace"])
def test_an_error_of_the_system_is_said_in_words_and_the_old_file_stays(tmp_path, monkeypatch, code, says, call):
    path = files.write_bytes(tmp_path / "x", b"old")

    def refuse(*_, **__):
        raise OSError(code, os.strerror(code))

    with monkeypatch.context() as patch:
        patch.setattr(call, refuse)
        with pytest.raises(Unreadable, match=says) as error:
            files.write_bytes(path, b"new")
    one_line(error, path)
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["x"]


def test_a_full_disk_is_one_line(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    lines = files.Appender(tmp_path / "metrics.jsonl")
    monkeypatch.setattr("os.write", full)
    with pytest.raises(Unreadable, match=r"metrics\.jsonl: cannot be written \(the disk is full"):
        lines.write("{}\n")
    lines.close()
    lines.close()


def test_a_name_too_long_and_a_file_as_a_folder_are_one_line(tmp_path):
    with pytest.raises(Unreadable, match="the name is too long"):
        files.write_bytes(tmp_path / ("x" * 256), b"")
    files.write_bytes(tmp_path / ("x" * 255), b"")  # what the file system takes we take
    with pytest.raises(Unreadable, match="not a folder"):
        files.write_bytes(tmp_path / ("x" * 255) / "y", b"")


def test_an_error_that_nobody_has_told_ends_in_one_line_too(monkeypatch, capsys):
    def fails(*_):
        raise PermissionError(errno.EACCES, "Permission denied", "some/[red]\x1bfile")

    monkeypatch.setattr("bestguess.cli._dispatch", fails)
    with pytest.raises(SystemExit) as stop:
        main(["x"])
    assert stop.value.code == 2
    err = capsys.readouterr().err
    assert err.startswith(r"bestguess: error: some/[red]\x1bfile: permission denied")
    assert err.count("\n") == 1


def test_standard_output_on_a_full_disk_is_one_line():
    with open("/dev/full", "w") as full:
        done = subprocess.run([sys.executable, "-m", "bestguess", "--help"], stdout=full, stderr=subprocess.PIPE)
    assert done.returncode == 2
    assert done.stderr.decode() == "bestguess: error: the system: the disk is full; free some space, " + (
        "or choose another place\n"
    )


def test_kill_9_while_writing_leaves_the_old_file_or_the_new(tmp_path):
    path = tmp_path / "x"
    code = (
        "import sys; from bestguess import files\n"
        "files.write_bytes(sys.argv[1], b'0' * 3_000_000); print(flush=True)\n"
        "while True:\n    for digit in b'0123456789': files.write_bytes(sys.argv[1], bytes([digit]) * 3_000_000)"
    )
    for delay in (0.0, 0.003, 0.01, 0.02):
        child = subprocess.Popen([sys.executable, "-c", code, path], stdout=subprocess.PIPE)
        child.stdout.readline()
        time.sleep(delay)
        child.send_signal(signal.SIGKILL)
        child.wait()
        child.stdout.close()
        data = path.read_bytes()
        assert len(data) == 3_000_000
        assert len(set(data)) == 1


# ----------------------------------------------------------------------------------------------- links


@pytest.fixture
def elsewhere(tmp_path):
    """A folder of a user's own, outside every run; afterwards it must be as it was, to the byte and to the second."""
    folder = tmp_path / "elsewhere"
    (folder / "inside").mkdir(parents=True)
    for name in ("file", "step-00000001.safetensors", ".x.part", "inside/step-00000001.safetensors", "inside/a.svg"):
        (folder / name).write_text(f"precious {name}")
        os.utime(folder / name, (1e9, 1e9))
    before = state(folder)
    yield folder
    assert state(folder) == before


def state(folder: Path) -> dict[str, tuple]:
    found = {}
    for path in sorted([folder, *folder.rglob("*")]):
        about = os.lstat(path)
        found[str(path)] = (about.st_mode, about.st_mtime_ns, path.read_bytes() if path.is_file() else None)
    return found


TREE = {"w": np.ones(3, np.float32)}


def leave(folder: Path, resume: bool) -> None:
    """Write all that a training and a report leave in a folder, as the commands do."""
    if resume:
        read_config(folder, "filters")
    else:
        new_folder("filters", folder)
    with files.lock(folder):
        if not resume:
            write_config(folder, "filters", {"a": 1})
        part = folder / "checkpoints" / "part-0"
        load_newest(part, TREE)
        with open_trackers((), folder, {}, [{}], 3 if resume else None) as trackers:
            trackers.log(4, 0, {"loss": 1.0})
        for step in (3, 4, 5):
            save_checkpoint(part, step, TREE, {})
        files.write_json(folder / "evaluation.json", {"a": 1})
        chart = Chart("t", "x", "y", [Line([1, 2], [1, 2])])
        files.write_bytes(folder / "figures" / "a.svg", to_svg(chart))
        Page("t").write(folder / "report.html")


INSIDE = [
    *(".lock", "checkpoints", "checkpoints/part-0", "figures", "metrics.jsonl", "report.html", "config.yaml"),
    *("evaluation.json", "figures/a.svg", "checkpoints/part-0/step-00000005.safetensors", "wandb"),
]


def put_link(path: Path, elsewhere: Path) -> None:
    """Put a link to something of its own kind elsewhere in the place of `path`."""
    folder = path.name in ("checkpoints", "figures", "wandb") or path.name.startswith("part-")
    if path.is_dir():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    target = elsewhere / "file" if not folder else elsewhere / "inside" if path.name == "part-0" else elsewhere
    path.symlink_to(target)


@pytest.mark.parametrize("name", INSIDE)
@pytest.mark.parametrize("resume", [False, True])
def test_nothing_is_written_through_a_link_out_of_a_runs_folder(tmp_path, elsewhere, name, resume):
    folder = tmp_path / "run"
    if resume:
        leave(folder, False)
    put_link(folder / name, elsewhere)
    replaced = name.endswith((".html", ".svg", "evaluation.json")) or name == "wandb"
    # A link in the place of a file that is written anew gives way to the file; wandb/ is none of this training's.
    if replaced:
        leave(folder, resume)
        assert (folder / name).is_symlink() == (name == "wandb")
        return
    told = "link"
    if not resume and name == "config.yaml":
        told = "already holds a training"
    elif not resume and name.startswith(("checkpoints", "metrics")):
        told = "of an earlier training"
    with pytest.raises(UserError, match=told):
        leave(folder, resume)


def test_links_that_stay_inside_and_a_run_folder_that_is_a_link_are_welcome(tmp_path, elsewhere):
    scratch = tmp_path / "scratch disk"
    scratch.mkdir()
    folder = tmp_path / "run"
    folder.symlink_to(scratch)
    (scratch / "pictures").mkdir()
    (scratch / "figures").symlink_to("pictures")
    leave(folder, False)
    leave(folder, True)
    assert [path.name for path in (scratch / "pictures").iterdir()] == ["a.svg"]
    assert load_newest(folder / "checkpoints/part-0", TREE)[0][1] == 5


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """A folder that the command line trained."""
    small = "--latent-dim 4 --observed-dim 2 --length 16 --layers 1 --d-model 8 --heads 2 --batch-size 4 --steps 6"
    small += " --warmup-steps 1 --validate-every 3 --validation-sequences 4 --test-sequences 8 --context 8"
    folder = tmp_path_factory.mktemp("trained") / "run"
    with pytest.raises(SystemExit) as stop:
        main(["filters", "train", *small.split(), "--horizons", "2", "--rollouts", "8", "--out", str(folder)])
    assert not stop.value.code
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("name", [".lock", "checkpoints/part-0", "metrics.jsonl"])
def test_resume_tells_of_the_link_in_one_line(tmp_path, trained, elsewhere, capsys, name):
    folder = tmp_path / "run"
    shutil.copytree(trained, folder)
    (folder / "report.html").unlink()  # so that something is left to do
    put_link(folder / name, elsewhere)
    capsys.readouterr()
    with pytest.raises(SystemExit) as stop:
        main(["filters", "train", "--resume", str(folder)])
    err = capsys.readouterr().err
    assert (stop.value.code, err.count("\n")) == (2, 1)
    assert err.startswith(f"bestguess: error: {folder / name}: is a link that leads out of {folder}")


# -------------------------------------------------------------------------------------------- large files


def seen(file: files.DataFile | files.GrowingFile, offset: int, count: int) -> bytes:
    buffer = bytearray(count)
    file.read_into(offset, memoryview(buffer))
    return bytes(buffer)


@pytest.mark.parametrize("offset", [0, 3, 96])
@pytest.mark.parametrize("count", [0, 1, 5])
def test_a_data_file_is_read_at_any_position(tmp_path, monkeypatch, offset, count):
    data = bytes(range(101))
    files.write_bytes(tmp_path / "x", data)
    preadv = os.preadv
    monkeypatch.setattr("os.preadv", lambda fd, buffers, at: preadv(fd, [buffers[0][:2]], at))  # short reads
    with files.DataFile(tmp_path / "x") as file:
        assert file.size == 101
        assert seen(file, offset, count) == data[offset : offset + count]
        values = np.zeros((count, 1), "<u2")
        if offset + 2 * count <= 101:
            file.read_into(offset, values.data)
            assert values.tobytes() == data[offset : offset + 2 * count]
        file.check_unchanged()


def test_a_digest_is_fed_the_first_bytes_alone(tmp_path, monkeypatch):
    monkeypatch.setattr("bestguess.files.data._PIECE", 7)
    data = files.read_bytes(files.write_bytes(tmp_path / "x", bytes(range(101))))
    with files.DataFile(tmp_path / "x") as file:
        for size in (0, 6, 7, 8, 101):
            digest = hashlib.sha256()
            file.feed(digest, size)
            assert digest.digest() == hashlib.sha256(data[:size]).digest()


def test_what_is_no_data_file_is_one_line_and_no_wait(other):
    with pytest.raises(Unreadable, match="FILE x: cannot be read"):
        files.DataFile(other, "FILE x")
    with pytest.raises(Unreadable, match="cannot be read") as error:
        files.DataFile(other)
    one_line(error, other)


def test_a_data_file_that_changes_is_noticed(tmp_path):
    path = files.write_bytes(tmp_path / "x", b"12345678")
    with files.DataFile(path) as file:
        files.write_bytes(path, b"another file of this name")
        file.check_unchanged()
        assert seen(file, 0, 8) == b"12345678"
    for change in (lambda: os.truncate(path, 4), lambda: os.utime(path, (1, 1)), lambda: path.write_bytes(b"x" * 50)):
        with files.DataFile(path) as file:
            change()
            with pytest.raises(Unreadable, match="was written to while it was read; run the command again") as error:
                file.check_unchanged()
            one_line(error, path)
    with files.DataFile(path) as file:
        os.truncate(path, 4)
        with pytest.raises(Unreadable, match="became shorter while it was read"):
            seen(file, 2, 3)
        file.close()
        file.close()


def test_a_growing_file_is_resumed_and_renamed_when_done(tmp_path, monkeypatch):
    pwrite = os.pwrite
    monkeypatch.setattr("os.pwrite", lambda fd, data, at: pwrite(fd, data[:2], at))  # short writes
    target, part = tmp_path / "x", tmp_path / "x.part"
    with files.GrowingFile(target) as file:
        file.append(memoryview(b"0123456"))
        file.append(np.array([[0x3837]], "<u2").data)
        file.append(memoryview(b""))
        file.sync()
    assert part.read_bytes() == b"012345678"
    assert not target.exists()
    with files.GrowingFile(target) as file:
        assert (file.size, seen(file, 2, 3)) == (9, b"234")
        file.cut(4)
        file.append(memoryview(b"new"))
        file.finish()
    assert os.listdir(tmp_path) == ["x"]
    assert target.read_bytes() == b"0123new"


@pytest.mark.parametrize("dangling", [False, True])
def test_a_growing_file_goes_through_no_link(tmp_path, elsewhere, dangling):
    aim = elsewhere / ("never there" if dangling else "file")
    target = tmp_path / "x"
    (tmp_path / "x.part").symlink_to(aim)
    with pytest.raises(Unreadable, match=r"--out x: cannot be opened \(it is a link"):
        files.GrowingFile(target, "--out x")
    (tmp_path / "x.part").unlink()
    target.symlink_to(aim)
    with files.GrowingFile(target) as file:
        file.append(memoryview(b"new"))
        file.finish()
    assert not target.is_symlink()
    assert target.read_bytes() == b"new"


def test_a_growing_file_replaces_no_folder_and_no_pipe(tmp_path):
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    for name, said in (("folder", "it is a folder"), ("pipe", "not a regular file")):
        with files.GrowingFile(tmp_path / name) as file, pytest.raises(Unreadable, match=said):
            file.finish()
        assert not (tmp_path / name).is_file()
    os.mkfifo(tmp_path / "x.part")
    with pytest.raises(Unreadable, match="not a regular file"):
        files.GrowingFile(tmp_path / "x")
    with pytest.raises(Unreadable, match="the name is too long"):
        files.GrowingFile(tmp_path / ("x" * 254))


def test_of_two_growing_files_of_one_target_one_is_refused(tmp_path, monkeypatch):
    with files.GrowingFile(tmp_path / "x") as first:
        with pytest.raises(UserError, match="another process is making it") as error:
            files.GrowingFile(tmp_path / "x")
        one_line(error, tmp_path / "x")
        first.append(memoryview(b"whole"))

        def flock_late(*_):  # the first process finishes between the open and the lock of the second
            first.finish()

        with monkeypatch.context() as patch:
            patch.setattr("fcntl.flock", flock_late)
            with pytest.raises(UserError, match="another process is making it"):
                files.GrowingFile(tmp_path / "x")
    assert os.listdir(tmp_path) == ["x"]
    assert (tmp_path / "x").read_bytes() == b"whole"


def cut_append_finish(file: files.GrowingFile) -> None:
    file.cut(4)
    file.append(memoryview(b"78"))
    file.finish()


@pytest.mark.parametrize("call", ["os.pwrite", "os.fsync", "os.replace", "os.ftruncate"])
@pytest.mark.parametrize(("code", "says"), [(errno.ENOSPC, "the disk is full"), (errno.EIO, "the disk reports")])
def test_an_error_while_a_file_grows_is_one_line_and_what_was_written_stays(tmp_path, monkeypatch, call, code, says):
    def refuse(*_, **__):
        raise OSError(code, os.strerror(code))

    target = tmp_path / "x"
    with files.GrowingFile(target) as file:
        file.append(memoryview(b"123456"))
        file.sync()
        with monkeypatch.context() as patch:
            patch.setattr(call, refuse)
            with pytest.raises(Unreadable, match=rf"cannot be written \({says}") as error:
                cut_append_finish(file)
        one_line(error, target)
    assert os.listdir(tmp_path) == ["x.part"]
    with files.GrowingFile(target) as file:
        assert seen(file, 0, 4) == b"1234"


def test_within_takes_plain_names_alone(tmp_path):
    for name in ("", ".", "..", "../x", "/etc/passwd", "a/b", "a\0b"):
        with pytest.raises(UserError):
            files.within(tmp_path, name)
    assert files.within(tmp_path, "a", "..b") == tmp_path / "a" / "..b"


def test_a_tree_is_not_removed_through_a_link(tmp_path, elsewhere):
    folder = tmp_path / "ledger"
    (folder / "work").mkdir(parents=True)
    (folder / "work" / "out").symlink_to(elsewhere)
    (folder / "work" / "in").symlink_to(folder / "work" / "real")
    (folder / "work" / "real").mkdir()
    (folder / "work" / "real" / "kept").write_text("")
    with pytest.raises(UserError, match="leads out"):
        files.remove_tree(folder, "work", "out")
    files.remove_tree(folder, "work", "in")
    assert [path.name for path in sorted((folder / "work").iterdir())] == ["out", "real"]
    assert (folder / "work" / "real" / "kept").exists()
    files.remove_tree(folder, "work", "real")
    files.remove_tree(folder, "work", "never there")
    assert not (folder / "work" / "real").exists()


# ---------------------------------------------------------------------------------------------- ledger

SWEEP = f"method: grid\nparameters: {{family: {{value: {TOY}}}, train.first_seed: {{values: [0, 1]}}}}"
BAD_NAMES = ["../../elsewhere/file", "/etc/passwd", "..", ".hidden", "a/b", "a\0b", "", "x" * 300, "*", 7, None, ["a"]]


@pytest.fixture
def ledger(tmp_path) -> Ledger:
    about = {"planned": 2, "method": "grid", "lacks": []}
    return Ledger.create(tmp_path / "sweep", SWEEP, about, plan(parse_spec(SWEEP, "n", "f"), ensemble=2))


def alter(path: Path, change) -> None:
    data = json.loads(path.read_text())
    path.write_text(json.dumps(change(data) or data))


@pytest.mark.parametrize("bad", BAD_NAMES, ids=repr)
def test_a_name_in_a_ledger_that_is_a_path_is_refused(ledger, elsewhere, bad):
    path = ledger.folder / "rounds" / "0000.json"
    sound = path.read_text()
    for change in (
        lambda data: data["runs"][0].update(run=bad),
        lambda data: data["units"][0].update(unit=bad),
        lambda data: data["units"][0].update(runs=[bad]),
    ):
        path.write_text(sound)
        alter(path, change)
        for read in (ledger.runs, ledger.status, ledger.rounds):
            with pytest.raises(UserError) as error:
                read()
            one_line(error, path)
    with pytest.raises(UserError) if isinstance(bad, str) and ("/" in bad or "\0" in bad) else contextlib.nullcontext():
        ledger.record(bad)


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("rounds/0000.json", "[]", "expected the keys runs, units"),
        ("rounds/0000.json", "null", "expected the keys runs, units"),
        ("rounds/0000.json", '{"runs": 3, "units": []}', "runs: expected a list"),
        (
            "rounds/0000.json",
            '{"runs": [{"run": "0"}], "units": []}',
            r"runs\[0\]: expected the keys run, ",
        ),
        (
            "rounds/0000.json",
            '{"runs": [{"run": "0", "config": 1, "shape": ""}], "units": []}',
            "config: expected a dict",
        ),
        ("rounds/0000.json", '{"runs": [], "units": [{"unit": "0", "runs": 1}]}', "runs: expected a list"),
        ("rounds/0000.json", "{", "damaged"),
        ("plan.json", "[]", "not the folder of a sweep"),
        ("plan.json", "{}", "planned: this key is missing"),
        ("plan.json", '{"planned": "2", "method": "grid", "lacks": []}', "planned: expected a int"),
        ("plan.json", '{"planned": 1e3, "method": "grid", "lacks": []}', "planned: expected a int"),
        ("plan.json", '{"planned": 1000000000000, "method": "grid", "lacks": []}', "at most 1,000,000"),
    ],
)
def test_a_ledgers_shapes_are_checked(ledger, name, text, says):
    (ledger.folder / name).write_text(text)
    with pytest.raises(UserError, match=says) as error:
        Ledger(ledger.folder).status()
    one_line(error, ledger.folder)


@pytest.mark.parametrize("text", ["[]", "{", "", '{"reason": 1, "kind": "error", "attempt": ""}', "\0\0"])
def test_a_damaged_failure_is_told_by_status(ledger, text):
    (ledger.folder / "failures").mkdir()
    path = ledger.folder / "failures" / "0000.1-1.json"
    path.write_text(text)
    first, second = Ledger(ledger.folder).status().missing
    assert first.reason == f"failed; {path} is damaged: remove it"
    assert second.reason == "not begun"


def test_an_altered_record_does_not_count(ledger):
    run = next(iter(ledger.runs().values()))
    ledger.finish(run, {"loss": 0.25}, {})
    record = ledger.record(run.run)
    assert record["metrics"] == {"loss": 0.25}
    path = ledger.folder / "done" / f"{run.run}.json"
    path.write_text(path.read_text().replace("0.25", "0.24"))
    assert ledger.record(run.run) is None
    path.write_text(json.dumps(record))  # as older versions wrote it, without a checksum
    assert ledger.record(run.run) == record


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.sampled_from(["run", "../x", "0000"]),
    lambda inside: (
        st.lists(inside, max_size=3)
        | st.dictionaries(st.sampled_from(["runs", "units", "run", "config", "shape", "unit"]), inside, max_size=4)
    ),
    max_leaves=25,
)


@any_input
@given(data=json_values)
def test_any_json_is_a_round_or_one_line(data):
    with contextlib.suppress(UserError):
        Round.from_dict(data)


@any_input
@given(data=json_values | st.dictionaries(st.sampled_from(["pid", "host", "born", "machine"]), json_values))
def test_any_claim_is_held_or_free(tmp_path, data):
    folder = tmp_path / "claims"
    folder.mkdir(exist_ok=True)
    for old in folder.iterdir():
        old.unlink()
    (folder / "u.0001").write_text(json.dumps(data))
    acquire(folder, "u", {})


@pytest.mark.parametrize("name", ["done", "failures", "work", "claims", "logs"])
def test_a_ledgers_folder_that_leads_out_is_refused(ledger, elsewhere, tmp_path, monkeypatch, request, name):
    from bestguess.sweep.launch import launch
    from bestguess.sweep.worker import work

    monkeypatch.chdir(tmp_path)
    path = ledger.folder / name
    path.symlink_to(elsewhere)
    console = make_console(json=True)
    console.quiet = True
    import jax

    kept = jax.config.jax_compilation_cache_dir  # of the tests, or of an earlier worker of this process
    jax.config.update("jax_compilation_cache_dir", None)
    request.addfinalizer(lambda: jax.config.update("jax_compilation_cache_dir", kept))
    act = {"logs": lambda: launch(ledger, 0, [], console), "failures": lambda: ledger.fail("0000", "a", "error", "a")}
    with pytest.raises(UserError, match=f"{path}: is a link that leads out") as error:
        act.get(name, lambda: work(ledger, console, max_failures=1))()
    one_line(error, path)


def test_a_claim_that_is_a_link_does_not_touch_what_it_points_to(tmp_path, elsewhere):
    lease = acquire(tmp_path / "claims", "u", {})
    with lease:
        lease.path.unlink()
        lease.path.symlink_to(elsewhere / "file")
    assert os.lstat(lease.path).st_mtime == 0


# ------------------------------------------------------------------------------ text that came from outside

HOSTILE = [
    "[red]x",
    "[/dim]",
    "[bold]a[/bold]",
    "[link=file:///x]y[/link]",
    ":smile:",
    "\x1b[2Jx",
    "a\rb",
    "[",
    "\\[x]",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_text_from_outside_is_printed_as_it_is(capsys, text):
    console = make_console(json=False)
    told = shown(text)
    console.print(text)
    console.print(f"[dim]{text}[/dim]")
    console.print(f"run {text}", style="dim")
    console.print(labelled(text, text, "red"))
    with console.status(text):
        pass
    from bestguess.report.progress import results_table

    console.print(results_table([text], [[text]], text))
    lines = [line.strip() for line in capsys.readouterr().out.splitlines()]
    assert lines[:4] == [told, f"[dim]{told}[/dim]", f"run {told}", f"{told} {told}"]
    assert sum(told in line for line in lines[4:]) == 3 - ("\r" in text)  # a column's name is wrapped at its spaces


def test_a_file_name_that_looks_like_markup_is_told_literally(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("[red]x.yaml", "[/dim].yaml", "a\nb.yaml"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("{")
        with pytest.raises(SystemExit) as stop:
            main(["sweep", name])
        err = capsys.readouterr().err
        assert stop.value.code == 2
        assert err.startswith(f"bestguess: error: {shown(name)}: not YAML")
        assert err.count("\n") == 1


def test_a_page_escapes_what_it_shows():
    page = Page("<script>", "<script>")
    page.heading("<script>")
    page.table(["<script>"], [["<script>"]], "<script>")
    page.details("<script>", "<script>")
    page.text('[x](javascript:alert) <script> [y](https://a"onclick=b)')
    text = page.render()
    assert "<script>" not in text
    assert "javascript:" not in text.replace("[x](javascript:alert)", "")
    assert 'a"onclick' not in text


def test_yaml_of_ours_is_what_pyyaml_reads(tmp_path):
    text = "a: 1e-4\nb: [0x10, .5, ~, yes, 'x', 1_000]\nc: {d: -.inf, 1: 2}"
    assert files.parse_yaml(text, "") == yaml.safe_load(text)


@pytest.mark.parametrize("path", ["", ".", "..", "/"])
def test_a_path_without_a_name_is_a_folder_and_said_so(tmp_path, monkeypatch, path):
    """`--out ""` is the working directory: nothing can be put beside a name that is not there."""
    folder = tmp_path / "a" / "b"
    folder.mkdir(parents=True)
    monkeypatch.chdir(folder)
    for write in (files.write_text, files.write_json):
        with pytest.raises(UserError, match="cannot be written"):
            write(Path(path), "x")
    assert [one.name for one in tmp_path.rglob("*")] == ["a", "b"]
