"""`bestguess rolls audit`: each planted mistake is found, by its own check, and a clean protocol has none."""

from __future__ import annotations

import copy
import hashlib
import json
import subprocess
import sys

import numpy as np
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bestguess import cli
from bestguess.command import Failure, UserError, make_console
from bestguess.rolls import repeats
from bestguess.rolls.audit import audit, check, sentence
from bestguess.rolls.checks import matched
from bestguess.rolls.file import RollsFile
from bestguess.rolls.flags import AuditFlags
from bestguess.rolls.protocol import FittedBins, Part, Protocol, parse_protocol, read_protocol, write_protocol
from bestguess.rolls.repeats import find_repeats
from bestguess.rolls.sources import source_of
from bestguess.rolls.spans import both, gap, size, spans, without

N, TRAINED = 12_000, 9_000
CHECKS = [
    *("training windows", "test windows", "test targets", "bins", "bin edges", "training rows", "repeats"),
    *("peeking", "best of many", "file"),
]
IN_THE_FILE = {"bin edges", "repeats", "file"}


def quantiles(values: np.ndarray, bins: int = 8) -> list[int]:
    return np.quantile(values, np.arange(1, bins) / bins, method="lower").tolist()


def drawn() -> np.ndarray:
    """Values whose later part is shifted a little, so that quantiles of the parts differ."""
    values = np.random.default_rng(0).integers(0, 60_000, N)
    values[TRAINED:] += 1000
    return values.astype("<u2")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "protocol.json"


def clean(values: np.ndarray) -> dict:
    return {
        "file": "rolls.u16",
        "sha256": hashlib.sha256(values.tobytes()).hexdigest(),
        "values": N,
        "window": 16,
        "heads": 2,
        "training": {"start": 0, "stop": TRAINED, "stride": 16, "with_replacement": False},
        "validation": {"start": 9016, "stop": 10_000},
        "test": {"start": 10_016, "stop": N, "stride": 16},
        "bins": {"edges": quantiles(values[:TRAINED]), "fitted_on": {"start": 0, "stop": TRAINED}},
        "looks": 1,
        "tries": 1,
        "combined": "mean",
        "statistic": "z",
        "targets": 1984,
        "selected_on": "validation",
    }


def write(path, protocol: dict, values: np.ndarray | None = None) -> None:
    (drawn() if values is None else values).tofile(path.with_name("rolls.u16"))
    path.write_text(json.dumps(protocol))


def told(path, **flags) -> dict:
    """The result, whether there is a fault or not."""
    try:
        return audit(AuditFlags(path, **flags), make_console(json=True))
    except Failure as failure:
        return failure.result or {}


def verdicts(result: dict) -> dict[str, str]:
    return {one["check"]: one["verdict"] for one in result["findings"]}


def changed(protocol: dict, changes: dict) -> dict:
    """The protocol with the values at dotted keys replaced."""
    made = copy.deepcopy(protocol)
    for key, value in changes.items():
        *rooms, last = key.split(".")
        place = made
        for room in rooms:
            place = place[room]
        place[last] = value
    return made


# ------------------------------------------------------------------------------------------ faults


def test_a_clean_protocol_has_no_fault(path, capsys):
    write(path, clean(drawn()))
    assert verdicts(told(path)) == dict.fromkeys(CHECKS, "passed")
    with pytest.raises(SystemExit) as stop:
        cli.main(["rolls", "audit", str(path), "--json"])
    assert stop.value.code == 0
    result = json.loads(capsys.readouterr().out)
    assert (result["faults"], result["sentence"]) == (0, "no fault found in 10 checks")


FAULTS = [
    ("training windows", {"training.stride": 1}, "up to 16 times"),
    ("training windows", {"training.with_replacement": True}, "with replacement"),
    ("training windows", {"training": {"starts": [0, 100, 115, 8000]}}, "1 of 4 windows"),
    ("test windows", {"test.stride": 8}, "up to 2 times"),
    (
        "test windows",
        {"test": {"starts": [10_016, 10_016, *range(10_100, 11_900, 16)]}, "targets": 99},
        "1 of 115 windows",
    ),
    ("test targets", {"targets": 2 * 1984}, "13.6 %"),
    ("test targets", {"targets": 1985, "heads": 1}, "1,985 predictions"),
    ("bins", {"bins.fitted_on": {"start": 0, "stop": N}}, "1,984 test values"),
    ("bins", {"bins.fitted_on": {"start": 0, "stop": 9_017}}, "1 validation values"),
    ("training rows", {"training.stop": 10_017, "validation": {"start": 0, "stop": 0}}, "1 test values"),
    ("training rows", {"validation": {"start": 9_000, "stop": 10_000}}, "training and validation is 0"),
    ("training rows", {"test": {"start": 10_015, "stop": N, "stride": 16}}, "validation and test is 15"),
    ("training rows", {"heads": 17}, "gap"),
    ("training rows", {"test": {"starts": [9_900]}, "targets": 1}, "18 test values are validation values"),
    ("peeking", {"looks": 100}, "15.6 %"),
    ("peeking", {"looks": 2, "statistic": "p-value"}, "2 looks at a p-value"),
    ("best of many", {"tries": 20, "combined": "best"}, "18.5 %"),
    ("best of many", {"selected_on": "test"}, "chosen on the test part"),
    ("file", {"sha256": "0" * 64}, "SHA-256"),
    ("file", {"values": N + 1}, "12,000 values"),
]


@pytest.mark.parametrize(("name", "changes", "said"), FAULTS)
def test_a_planted_fault_is_found_by_its_own_check(path, capsys, name, changes, said):
    write(path, changed(clean(drawn()), changes))
    with pytest.raises(SystemExit) as stop:
        cli.main(["rolls", "audit", str(path), "--json"])
    assert stop.value.code == 1
    out, err = capsys.readouterr()
    result = json.loads(out)
    assert [check for check, verdict in verdicts(result).items() if verdict == "fault"] == [name]
    (one,) = (one for one in result["findings"] if one["check"] == name)
    assert said in one["says"]
    assert one["fix"]
    assert result["faults"] == 1
    assert result["sentence"].startswith(f"1 fault: {name}: ")
    assert err.splitlines()[-1] == f"bestguess: failed: {result['sentence']}"


def test_two_faults_in_one_sentence(path):
    write(path, changed(clean(drawn()), {"training.stride": 1, "looks": 3}))
    said = told(path)["sentence"]
    assert said.startswith("2 faults: training windows: ")
    assert "; peeking: 3 looks at a z test" in said


@pytest.mark.parametrize("until", [10_000, N])
def test_edges_of_more_than_the_training_part_are_recognised_from_the_file(path, until):
    values = drawn()
    protocol = changed(clean(values), {"bins.edges": quantiles(values[:until])})
    write(path, protocol)
    result = told(path)
    assert [name for name, verdict in verdicts(result).items() if verdict == "fault"] == ["bin edges"]
    source = "the whole file" if until == N else "the training and validation values"
    assert f"all 7 edges are quantiles of {source}" in result["sentence"]


def test_edges_of_another_rule_are_not_judged(path):
    write(path, changed(clean(drawn()), {"bins.edges": list(range(1000, 60_000, 7000))}))
    assert verdicts(told(path))["bin edges"] == "not checked"


@pytest.mark.parametrize("source", ["copied", "seed", "nonce"])
def test_repeats_of_every_kind(path, source):
    values = drawn()
    if source == "copied":
        values[11_000:11_040] = values[500:540]
    elif source == "seed":
        values[10_016:] = np.random.default_rng(0).integers(0, 60_000, N)[: N - 10_016]
    else:
        values = values[np.arange(N) % 8_000]
    write(path, clean(values), values)
    result = told(path)
    assert [name for name, verdict in verdicts(result).items() if verdict == "fault"] == ["repeats"]
    (one,) = (one for one in result["findings"] if one["check"] == "repeats")
    figures = one["figures"]
    assert figures["length"] == 8
    assert figures["found"] == 1
    assert figures["longest"] == {"copied": 40, "seed": N - 10_016, "nonce": N - 10_016}[source]
    assert figures["at"] == {"copied": (500, 11_000), "seed": (0, 10_016), "nonce": (2_016, 10_016)}[source]
    assert 0 < figures["expected"] < 1e-20
    assert f"Probability by chance: at most {figures['expected']:.1g}" in one["says"]


# ------------------------------------------------------------------------------------------ not told

NEEDED = {
    "file": IN_THE_FILE,
    "sha256": {"file"},
    "values": {"file"},
    "window": {"training windows", "test windows", "training rows"},
    "heads": {"training rows"},
    "training": {"training windows", "training rows", "repeats", "bin edges"},
    "training.stride": {"training windows"},
    "training.with_replacement": {"training windows"},
    "validation": {"bins", "training rows"},
    "test": {"test windows", "test targets", "bins", "training rows", "repeats"},
    "test.stride": {"test windows"},
    "bins": {"bins", "bin edges"},
    "bins.edges": {"bin edges"},
    "bins.fitted_on": {"bins"},
    "looks": {"peeking"},
    "tries": {"best of many"},
    "combined": set(),  # of one try
    "statistic": set(),  # at one look
    "targets": {"test targets"},
    "selected_on": {"best of many"},
}


@pytest.mark.parametrize("key", NEEDED)
def test_what_is_not_told_is_not_checked(path, key):
    protocol = clean(drawn())
    assert set(protocol) == set(Protocol.__dataclass_fields__) == {name for name in NEEDED if "." not in name}
    write(path, changed(protocol, {key: None}))
    result = told(path)
    left = NEEDED[key]
    assert verdicts(result) == {name: "not checked" if name in left else "passed" for name in CHECKS}
    assert all(key in one["says"] and one["fix"] for one in result["findings"] if one["check"] in left)
    number = f" ({len(left)} not checked)" if left else ""
    assert result["sentence"] == f"no fault found in {10 - len(left)} checks{number}"


def test_one_key_alone_passes_nothing_but_one_look():
    for key, value in clean(drawn()).items():
        passed = [name for name, verdict in verdicts(told_of({key: value})).items() if verdict != "not checked"]
        assert passed == (["peeking"] if key == "looks" else []), key


def told_of(protocol: dict) -> dict:
    findings = check(parse_protocol(protocol, "PROTOCOL"), None, "file is not told")
    return {"findings": [{"check": one.check, "verdict": one.verdict} for one in findings]}


def test_several_tries_need_to_say_how_they_were_combined():
    assert verdicts(told_of({"tries": 5, "selected_on": "validation"}))["best of many"] == "not checked"
    mean = {"tries": 5, "selected_on": "validation", "combined": "mean"}
    assert verdicts(told_of(mean))["best of many"] == "passed"


def test_an_e_process_may_be_looked_at_as_often_as_one_likes():
    assert verdicts(told_of({"looks": 1000, "statistic": "e-process"}))["peeking"] == "passed"


def test_no_bins_is_told_by_no_edges():
    found = verdicts(told_of({"bins": {"edges": []}}))
    assert (found["bins"], found["bin edges"]) == ("passed", "passed")


def test_no_validation_part_is_told_by_an_empty_one(path):
    write(path, changed(clean(drawn()), {"validation": {"start": 0, "stop": 0}}))
    assert set(verdicts(told(path)).values()) == {"passed"}


def test_windows_at_random_over_the_whole_file():
    """The commonest split of all: windows shuffled, then cut in two."""
    starts = np.random.default_rng(0).permutation(np.arange(0, N - 18, 16)).tolist()
    protocol = {"window": 16, "heads": 1, "training": {"starts": starts[:600]}, "test": {"starts": starts[600:]}}
    found = verdicts(told_of(protocol))
    assert (found["training rows"], found["training windows"], found["test windows"]) == ("fault", "passed", "passed")


def test_nothing_told(path):
    path.write_text("{}")
    assert told(path)["sentence"] == "no fault found in 0 checks (10 not checked)"


# ------------------------------------------------------------------------------------------ reading


def test_a_folder_a_yaml_file_and_another_place_of_the_values(path, tmp_path):
    protocol = clean(drawn())
    write(path, protocol)
    assert told(tmp_path) == told(path)
    by_hand = tmp_path / "by_hand.yaml"
    by_hand.write_text(yaml.safe_dump(protocol))
    assert told(by_hand) == told(path)
    moved = path.with_name("rolls.u16").rename(tmp_path / "moved.u16")
    result = told(path)
    assert {name for name, verdict in verdicts(result).items() if verdict == "not checked"} == IN_THE_FILE
    assert f"there is no file {tmp_path / 'rolls.u16'}" in result["findings"][-1]["says"]
    assert set(verdicts(told(path, u16_path=moved)).values()) == {"passed"}


def test_a_protocol_is_written_as_it_is_read(path):
    made = parse_protocol(clean(drawn()), "PROTOCOL")
    assert read_protocol(write_protocol(path, made)) == (made, path)
    assert json.loads(path.read_text()) == clean(drawn()) | {"sha256": made.sha256}
    other = Protocol(training=Part(starts=[3, 1]), bins=FittedBins(edges=[1, 2.5]), looks=2)
    again, _ = read_protocol(write_protocol(path, other))
    assert json.loads(path.read_text()) == {"training": {"starts": [3, 1]}, "bins": {"edges": [1, 2.5]}, "looks": 2}
    assert (again.training, again.looks) == (Part(starts=(3, 1)), 2)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"windw": 3}, "windw: unknown key; did you mean window?"),
        ({"training.strid": 3}, "training.strid: unknown key; did you mean stride?"),
        ({"bins.edge": 3}, "bins.edge: unknown key; did you mean edges?"),
        ({"window": 0}, "window: 0 is not an integer from 1"),
        ({"window": True}, "window: True is not an integer"),
        ({"heads": 1.5}, "heads: 1.5 is not an integer"),
        ({"values": 10**5000}, "values: an integer of 5000 digits is not an integer"),
        ({"looks": "100"}, "looks: '100' is not an integer"),
        ({"training": [0, 9]}, "training: not a mapping; its keys are start, stop"),
        ({"training": {}}, "training: has no start and stop"),
        ({"training": {"start": 0}}, "training: has no start and stop"),
        ({"training.starts": [1]}, "training: has both starts and start"),
        ({"test": {"starts": 5}}, "test.starts: 5 is not a list"),
        ({"test": {"starts": [3, -1]}}, "test.starts[1]: -1 is not an integer from 0"),
        ({"test": {"starts": [N]}}, "test.starts: 12,001 is past the file's 12,000 values"),
        ({"test.stop": N + 1}, "test.stop: 12,001 is past the file's 12,000 values"),
        ({"bins.fitted_on.stop": N + 1}, "bins.fitted_on.stop: 12,001 is past"),
        ({"validation.stop": 9_000}, "validation.stop: 9000 is before start 9016"),
        ({"training.with_replacement": "no"}, "with_replacement: 'no' is not true, false or null"),
        ({"bins.edges": [3, 2]}, "bins.edges[1]: 2 is below the edge before it"),
        ({"bins.edges": [3, float("nan")]}, "bins.edges[1]: nan is not a number"),
        ({"bins.edges": "x"}, "bins.edges: 'x' is not a list"),
        ({"combined": "mena"}, "combined: 'mena' is not one of mean, best, null; did you mean mean?"),
        ({"statistic": ["z"]}, "statistic: ['z'] is not one of"),
        ({"sha256": "abc"}, "sha256: 'abc' is not a SHA-256"),
        ({"file": 5}, "file: 5 is not a text"),
        ({"file": "."}, "it is a folder"),
    ],
)
def test_a_protocol_that_is_off_is_one_line(path, monkeypatch, changes, said):
    made = changed(clean(drawn()), changes)
    drawn().tofile(path.with_name("rolls.u16"))
    path.touch()
    monkeypatch.setattr("bestguess.files.parse_json", lambda text, where: made)
    with pytest.raises(UserError) as caught:
        told(path)
    (line,) = str(caught.value).splitlines()
    assert line.startswith(f"PROTOCOL {path}: ")
    assert said in line


@pytest.mark.parametrize("name", ["none.json", "none.yaml", "", "a\0b", "x" * 5000])
def test_what_is_no_protocol_is_exit_2(tmp_path, capsys, name):
    with pytest.raises(SystemExit) as stop:
        cli.main(["rolls", "audit", str(tmp_path / name)])
    assert stop.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_a_named_file_that_is_missing_or_none_is_exit_2(path, capsys):
    write(path, clean(drawn()))
    path.with_name("rolls.u16").write_bytes(b"123")
    for more in ([], ["--u16-path", str(path.with_name("none"))]):
        with pytest.raises(SystemExit) as stop:
            cli.main(["rolls", "audit", str(path), *more])
        assert stop.value.code == 2
        err = capsys.readouterr().err
        assert err.count("\n") == 1
        assert "--u16-path" in err


KEYS = sorted({*Protocol.__dataclass_fields__, *Part.__dataclass_fields__, *FittedBins.__dataclass_fields__})
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers(-5, 300)
    | st.integers()
    | st.floats()
    | st.sampled_from(["rolls.u16", "z", "best", "mean", "test", "a\0b", "\ud800", "x" * 400])
    | st.text(max_size=5)
)
JSONS = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(KEYS) | st.text(max_size=3), inner),
    max_leaves=12,
)
PLACES = [(), *((key,) for key in Protocol.__dataclass_fields__)]
PLACES += [(room, key) for room in ("training", "validation", "test") for key in Part.__dataclass_fields__]
PLACES += [("bins", key) for key in FittedBins.__dataclass_fields__]


def result_or_line(path) -> dict | str:
    try:
        return told(path)
    except UserError as error:
        return str(error)


@given(place=st.sampled_from(PLACES), value=JSONS)
@settings(max_examples=120, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_any_value_at_any_place_is_a_result_or_one_line(path, place, value):
    protocol = {
        "file": "rolls.u16",
        "window": 16,
        "heads": 1,
        "training": {"start": 0, "stop": 150, "stride": 16},
        "validation": {"start": 160, "stop": 170},
        "test": {"start": 200, "stop": 300},
        "bins": {"edges": [3, 5], "fitted_on": {"start": 0, "stop": 90}},
    }
    write(path, changed(protocol, {".".join(place): value}) if place else value, drawn()[:300])
    result = result_or_line(path)
    if isinstance(result, str):
        assert "\n" not in result
    else:
        assert list(verdicts(result)) == CHECKS
        json.dumps(result, allow_nan=False)


@given(content=st.binary(max_size=60))
@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_any_bytes_as_a_protocol(path, content):
    path.write_bytes(content)
    result = result_or_line(path)
    assert "\n" not in result if isinstance(result, str) else list(verdicts(result)) == CHECKS


def test_the_command_needs_no_jax(path):
    write(path, clean(drawn()))
    code = (
        "import sys; sys.modules.update(dict.fromkeys(['jax', 'jaxlib', 'equinox', 'optax', 'jaxtyping']))\n"
        f"from bestguess.cli import main; main(['rolls', 'audit', {str(path)!r}])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "no fault found in 10 checks"


# ------------------------------------------------------------------------------------------ the pieces

INTERVALS = st.lists(st.tuples(st.integers(0, 30), st.integers(0, 8)), max_size=6)


def of(intervals) -> np.ndarray:
    starts = np.array([start for start, _ in intervals], np.int64)
    return spans(starts, starts + np.array([length for _, length in intervals], np.int64))


def indices(intervals) -> set[int]:
    return {i for start, length in intervals for i in range(start, start + length)}


@given(a=INTERVALS, b=INTERVALS)
def test_spans_are_sets(a, b):
    x, y, A, B = indices(a), indices(b), of(a), of(b)
    for found, expected in ((A, x), (both(A, B), x & y), (without(A, B), x - y)):
        assert {i for start, stop in found.tolist() for i in range(start, stop)} == expected
        assert size(found) == len(expected)
        assert (found[:, 1] > found[:, 0]).all()
        assert (found[1:, 0] > found[:-1, 1]).all()
    if not x & y:
        nearest = min((abs(i - j) for i in x for j in y), default=None)
        assert gap(A, B) == (None if nearest is None else nearest - 1)


@given(length=st.integers(1, 40), more=st.integers(0, 30))
def test_hashes_are_equal_where_n_grams_are(length, more):
    values = np.random.default_rng(length).integers(0, 2, length + more).astype(np.uint16)
    values[more:] = values[: len(values) - more][-length:] if more else values
    keys = repeats._keys(values, length)
    grams = [values[i : i + length].tobytes() for i in range(len(values) - length + 1)]
    assert len(keys) == len(grams)
    assert len(set(keys.tolist())) == len(set(grams))
    assert all((keys[i] == keys[j]) == (one == other) for i, one in enumerate(grams) for j, other in enumerate(grams))


@pytest.mark.parametrize("buffer", [7, 64, 1 << 20])
def test_repeats_are_those_that_brute_force_finds(tmp_path, monkeypatch, buffer):
    """In parts of several spans, some of them shared, read in buffers that cut them."""
    monkeypatch.setattr("bestguess.rolls.file._BUFFER", buffer)
    values = np.random.default_rng(3).integers(0, 3000, 3000).astype("<u2")
    values[2000:2030] = values[100:130]  # a run across a border of a's spans: 8 and 12 of it
    values[2500:2511] = values[1500:1511]
    values[2600:2607] = values[700:707]  # too short
    values[2900:2950] = values[2400:2450]  # b in b
    a, b = np.array([[90, 108], [118, 1600], [2990, 3000]]), np.array([[1990, 2100], [2400, 3500]])
    values.tofile(tmp_path / "x")
    with RollsFile(tmp_path / "x") as file:
        found = find_repeats(file, a, b)
        inside = np.concatenate([values[start:stop] for start, stop in a])
        np.testing.assert_array_equal(repeats.counts_of(file, a), np.bincount(inside, minlength=1 << 16))
    L = found.length
    assert L == 8
    of_a = {values[i : i + L].tobytes() for s, e in ((90, 108), (118, 1600)) for i in range(s, e - L + 1)}
    hits = [
        i for s, e in ((1990, 2100), (2400, 3000)) for i in range(s, e - L + 1) if values[i : i + L].tobytes() in of_a
    ]
    runs = np.split(hits, np.flatnonzero(np.diff(hits) > 1) + 1)
    assert [len(run) for run in runs] == [1, 5, 4]
    assert (found.found, found.values) == (3, len(hits) + 3 * (L - 1))
    assert (found.longest, found.at) == (12, (118, 2018))


def test_of_a_long_part_some_n_grams_stand_for_all(tmp_path, monkeypatch):
    values = np.random.default_rng(0).integers(0, 10_000, 30_000).astype("<u2")
    values[25_000:26_000] = values[3_000:4_000]
    values.tofile(tmp_path / "x")
    monkeypatch.setattr(repeats, "_GRAMS", 1500)
    with RollsFile(tmp_path / "x") as file:
        found = find_repeats(file, np.array([[0, 20_000]]), np.array([[20_000, 30_000]]))
    assert (found.one_in, found.found) == (8, 1)
    assert 900 < found.longest <= 1000
    assert found.at[1] - found.at[0] == 22_000


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        *(("markov", {"concentration": 0.05}), ("hmm", {}), ("hmm", {"stay": 0.999, "concentration": 0.05})),
        *(("renewal", {}), ("repeat", {"fraction": 0.5}), ("repeat", {"fraction": 0.9}), ("halves", {"alphabet": 2})),
        *(("iid", {"alphabet": 2}), ("iid", {"law": "zipf"}), ("noisy-parity", {}), ("deck", {}), ("lcg", {})),
    ],
)
def test_short_range_dependence_is_no_repeat_and_a_copy_is(tmp_path, name, parameters):
    n = 40_000
    for seed in range(6):
        source = source_of(name, seed, parameters)
        values = np.array(source.draw(source.start(), n)[0]).astype("<u2")
        for copied in (False, True):
            if copied:
                values[35_000:36_500] = values[4_000:5_500]
            values.tofile(tmp_path / "x")
            with RollsFile(tmp_path / "x") as file:
                found = find_repeats(file, np.array([[0, 30_000]]), np.array([[30_100, n]]))
            assert found.expected <= 1e-3
            assert found.found == copied
            if copied:
                assert 1500 <= found.longest < 1500 + found.length
                (i, j), L = found.at, found.length
                assert 35_000 - found.length < j <= 35_000
                np.testing.assert_array_equal(values[i : i + L], values[j : j + L])


@pytest.mark.parametrize("values", [np.zeros(4000), np.arange(60_000) % 10, np.arange(8)])
def test_where_no_length_tells_a_copy_from_chance(tmp_path, values):
    values.astype("<u2").tofile(tmp_path / "x")
    half = len(values) // 2
    with RollsFile(tmp_path / "x") as file:
        assert find_repeats(file, np.array([[0, half]]), np.array([[half, 2 * half]])) is None


@pytest.mark.parametrize("method", ["lower", "higher", "nearest", "linear", "midpoint", "inverted_cdf", "weibull"])
@pytest.mark.parametrize("ends", [slice(1, -1), slice(0, -1), slice(1, None), slice(None)])
def test_quantiles_of_every_convention_match(method, ends):
    draw = np.random.default_rng(1)
    own, other = (draw.normal(30_000, 5000, 20_000).astype(np.uint16) for _ in range(2))
    edges = np.quantile(own, np.arange(17) / 16, method=method)[ends]
    count = lambda values: np.bincount(values, minlength=1 << 16)  # noqa: E731
    assert matched(edges.tolist(), count(own)) == len(edges)
    assert matched((np.floor(edges) + 1).tolist(), count(own)) == len(edges)
    assert matched(edges.tolist(), count(other)) < len(edges) - 5


def test_the_sentence_of_no_findings():
    assert sentence([]) == "no fault found in 0 checks"
