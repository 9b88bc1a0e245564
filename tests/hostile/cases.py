"""Cases: a command line, and what is off in it or in a file that it reads. Each is a function of seed and number."""

from __future__ import annotations

import dataclasses
import functools
import json
import os
import random
import shutil
import types
import typing
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from bestguess import files
from bestguess.cli import commands
from bestguess.command import load
from bestguess.config import from_dict, runs
from bestguess.family import load_family
from bestguess.sweep.plan import plan
from bestguess.sweep.spec import parse_spec
from tests.hostile.damage import changed, damage, retyped
from tests.hostile.samples import SHORT, SWEEP, TINY


@dataclass(frozen=True)
class Case:
    """What is run, in a folder of its own."""

    words: list[str]
    off: str
    """What is off, in words."""
    names: tuple[str, ...]
    """An error must contain one of these."""
    weights: bool = False
    """Whether bits of a model's weights are altered: that must be told, whatever the exit status."""
    small_disk: bool = False
    """Whether the disk takes no file beyond a few bytes."""
    environment: dict[str, str] = dataclasses.field(default_factory=dict)
    direct: Callable[[], object] | None = None
    """In place of a command line: what reads the input, without the time that a command takes to start."""
    kind: str = ""


HUGE = ("2147483647", "2147483648", "9223372036854775808", "99999999999999999999", "100000000", "1000000000", "1000000")
INTEGERS = (
    *HUGE,
    "-1",
    "0",
    "1",
    "3",
    "-9223372036854775809",
    "1.5",
    "1e9",
    "nan",
    "",
    "0x10",
    "٣",
    "1_000",
    "9" * 5000,
)
NUMBERS = ("nan", "inf", "-inf", "-1", "0", "1", "1e300", "1e-300", "1e39", "-1e-30", "", "x", "1,5", "0.5", "1e20")
PATHS = (
    "",
    ".",
    "..",
    "/",
    "nowhere",
    "a\0b",
    "x" * 300,
    "é" * 200,
    "[/b]",
    "[red]x",
    "line\nbreak",
    "\x1b[31m",
    "-",
    "pipe",
    "loop",
    "/dev/zero",
    "/dev/full",
    "/dev/null",
    "/proc/self/mem",
    "rolls.u16/x",
    "filters",
    "outside/file",
    "nowhere/deep/x",
    "\udcff",
    "a\ud800b",
    "table.csv",
    "protocol.json",
    "model.safetensors",
    "/nonexistent/x",
)
WORDS = (
    "",
    "nonsense",
    "\x1b[31m",
    "a\0b",
    "[/b]",
    "x" * 5000,
    "None",
    "True",
    "-1",
    "é",
    "a b",
    "\ud800",
    "{",
    "a=",
    "=",
    "errands",
    "hmm states=x",
    "lcg modulus=0",
    "hmm states=1000000000",
    "iid alphabet=99999999999",
)

_BASE = {
    "filters rollout": ["filters"],
    "filters inspect": ["filters"],
    "text attention": ["text", "--documents", "4"],
    "text convert": ["text", "--out", "new"],
    "integers generate": ["integers", "1", "2"],
    "integers distill": ["integers", "--steps", "2", "--sequences", "64", "--batch-size", "4"],
    "integers export": ["integers"],
    "integers predict": ["1", "2", "3"],
    "integers explain": ["1", "2", "3"],
    "rolls predict": ["rolls"],
    "rolls evaluate": ["rolls"],
    "rolls test": ["rolls.u16"],
    "rolls audit": ["protocol.json"],
    "rolls make": ["--source", "iid", "--n", "3000", "--out", "made.u16"],
    "text generate": ["text"],
    "text make": ["errands", "--world", "tiny", "--documents", "100", "--out", "errands"],
    "text sheet": ["text", "text", "--documents", "3"],
    "text votes": ["votes.json"],
    "sweep": ["sweep.yaml", "--folder", "ledgers"],
    "sweep status": ["sweep", "--folder", "ledgers"],
    "experiment": ["eigenvalue", "--folder", "ledgers", "--no-train"],
    "scratch copilot": ["--weights", "scratch.npz", "--steps", "0"],
}
"""By command, what makes it end soon."""


def lay(box: Path, *families: str) -> None:
    """Lay the samples out in `box`: single files, and these folders."""
    for path in SAMPLES[0].iterdir():
        if path.is_file():
            shutil.copyfile(path, box / path.name)
        elif path.name in families or (path.name == "ledgers" and set(families) & {"sweep", "experiment"}):
            shutil.copytree(path, box / path.name, symlinks=True)


SAMPLES: list[Path] = []
"""Where the sound files are; set once."""


def base_of(name: str) -> list[str]:
    """Return sound flags of a command."""
    family, _, word = name.partition(" ")
    if word in ("train", "memory") and family in TINY:
        return [*SHORT, *TINY[family]] + (["--out", "new"] if word == "train" else [])
    if word in ("evaluate", "report") and family in TINY:
        return [family]
    return list(_BASE.get(name, []))


def flags_of(cls: type) -> dict[str, tuple[Any, bool]]:
    """Return the type of every flag of a dataclass and its rooms, and whether it stands without a name."""
    found: dict[str, tuple[Any, bool]] = {}
    hints = typing.get_type_hints(cls, include_extras=True)
    for one in dataclasses.fields(cls):
        hint = hints[one.name]
        if dataclasses.is_dataclass(hint):
            found |= flags_of(typing.cast(type, hint))
        else:
            found["--" + one.name.rstrip("_").replace("_", "-")] = _plain(hint), "Positional" in str(one.type)
    return found


def _plain(hint: Any) -> Any:
    """The type that a flag's text becomes, without what is None or several."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Annotated:
        return _plain(args[0])
    if origin in (typing.Union, types.UnionType):
        return _plain(next(one for one in args if one is not type(None)))
    return _plain(args[0]) if origin is tuple else hint


def value_for(hint: Any, rng: random.Random) -> str:
    """Return a text that is off, or at the edge, as a value of a type."""
    if hint is int:
        return rng.choice(INTEGERS)
    if hint is float:
        return rng.choice(NUMBERS)
    if hint is Path:
        return rng.choice(PATHS)
    if typing.get_origin(hint) is Literal:
        return rng.choice((*map(str, typing.get_args(hint)), *WORDS))
    return rng.choice((*WORDS, *PATHS, *INTEGERS))


def flag_case(rng: random.Random, box: Path) -> Case:
    """A command with one or two flags that are off."""
    name = rng.choice(
        [one for one in sorted(commands()) if one not in ("scratch check", "quickstart")] + ["quickstart"]
    )
    words, given, off = base_of(name), flags_of(commands()[name].flags_class()), []
    for _ in range(rng.choice((1, 1, 1, 2))):
        chosen = rng.choice(sorted(given))
        hint, positional = given[chosen]
        if positional and words:
            place = 0
            words[place] = value_for(hint, rng)
            off.append(f"{chosen} {words[place]!r}")
        elif hint is bool:
            words.append(chosen if rng.random() < 0.5 else f"{chosen}={rng.choice(WORDS)}")
            off.append(words[-1])
        else:
            value = value_for(hint, rng)
            after = words[words.index(chosen) + 1 :][:1] if chosen in words else []
            if after and not after[0].startswith("--") and rng.random() < 0.8:
                words[words.index(chosen) + 1] = value
            else:
                words += rng.choice(([chosen, value], [f"{chosen}={value}"], [chosen, value, value], [chosen]))
            off.append(f"{chosen} {value[:40]!r}")
    lay(box, name.split()[0])
    os.mkfifo(box / "pipe")
    os.symlink("loop", box / "loop")
    values = [part for word in words for part in (word, word.partition("=")[2]) if part or not word]
    return Case(
        [*name.split(), *words],
        f"{name}: {' and '.join(off)}",
        ("--", *values, "unknown", "CORPUS", "parameters", *((".: ", "'': ") if "" in values else ())),
    )


_READERS = {
    "filters": [
        "filters evaluate filters",
        "filters report filters",
        "filters rollout filters",
        "filters inspect filters",
        "filters train --resume filters",
    ],
    "integers": [
        *("integers evaluate integers", "integers report integers", "integers generate integers 1 2"),
        *("integers export integers --out made.safetensors", "integers train --resume integers"),
        "integers distill integers --steps 2 --sequences 64 --batch-size 4",
    ],
    "rolls": [
        *("rolls evaluate rolls", "rolls report rolls", "rolls predict rolls", "rolls audit rolls"),
        "rolls train --resume rolls",
    ],
    "text": [
        *("text evaluate text", "text report text", "text generate text", "text train --resume text"),
        *("text sheet text text --documents 3", "text attention text --documents 4", "text convert text --out new"),
        " ".join(["text train", *SHORT, *TINY["text"], "--start text --out new"]),
    ],
}


def folder_case(rng: random.Random, box: Path) -> Case:
    """A trained folder of which one file is damaged."""
    family = rng.choice(sorted(_READERS))
    words = rng.choice(_READERS[family]).split()
    lay(box, family)
    paths = sorted(one for one in (box / family).rglob("*") if one.is_file())
    path = rng.choice([one for one in paths if "step-00000001" not in one.name])
    before = path.read_bytes()
    way = damage(path, rng)
    altered = path.suffix == ".safetensors" and path.is_file() and not path.is_symlink() and path.read_bytes() != before
    read = "checkpoints" in path.parts and altered
    if rng.random() < 0.1:
        damage(
            rng.choice(
                [one for one in paths if os.path.lexists(one) and one.is_file() and not one.is_symlink()]
                or [box / "sweep.yaml"]
            ),
            rng,
        )
        read = False
    return Case(words, f"{path.relative_to(box)}: {way}", (family, "--"), weights=read and "audit" not in words)


def ledger_case(rng: random.Random, box: Path) -> Case:
    """A sweep's folder of which one file is damaged."""
    lay(box, "ledgers")
    home = next((box / "ledgers").glob("sweep-*"))
    paths = sorted(one for one in home.rglob("*") if one.is_file() and "compiled" not in one.parts)
    path = rng.choice(paths)
    way = damage(path, rng)
    words = rng.choice(
        (
            "sweep status sweep",
            "sweep status sweep --test 1",
            "sweep sweep",
            "sweep sweep --plan",
            "sweep sweep --jobs 2",
            "experiment sweep --no-train --allow-incomplete",
            "sweep sweep.yaml --reuse sweep",
            "sweep sweep --estimate",
        )
    ).split()
    return Case([*words, "--folder", "ledgers"], f"{path.relative_to(home)}: {way}", ("sweep", "ledgers", "--"))


def sweep_off(rng: random.Random) -> Any:
    """Return a sound sweep of any family and method."""
    spec: Any = json.loads(json.dumps(SWEEP))
    if rng.random() < 0.5:
        spec["parameters"] |= {
            "family": {"value": rng.choice(("filters", "integers", "rolls", "text"))},
            "preset": {"value": "small"},
        }
        del spec["parameters"]["fault"]
    if rng.random() < 0.3:
        spec |= {"method": rng.choice(("random", "bayes")), "run_cap": 3}
        spec["parameters"]["train.learning_rate"] = {
            "distribution": rng.choice(("log_uniform", "log_uniform_values", "uniform", "q_uniform", "normal")),
            "min": 0.1,
            "max": 0.2,
        }
    return spec


def sweep_case(rng: random.Random, box: Path) -> Case:
    """A sweep's YAML with something off in it, on the command line."""
    lay(box)
    spec = sweep_off(rng)
    way = rng.randrange(4)
    path, words = box / "sweep.yaml", ["sweep", "sweep.yaml", "--plan", "--folder", "ledgers"]
    if way == 0:
        path.write_text(json.dumps(spec))
        damage(path, rng)
    elif way == 1:
        key, value = (
            rng.choice(sorted(spec["parameters"])),
            rng.choice((*WORDS, *INTEGERS, *NUMBERS, "[1,2", "!!int abc", "2024-13-45", "&a [*a]", "{a: {b: c}}")),
        )
        path.write_text(json.dumps(spec))
        words += ["--set", f"{key}={value}"]
    else:
        for _ in range(rng.choice((1, 1, 2, 3))):
            spec = changed(spec, rng)
        path.write_text(json.dumps(spec).encode(errors="replace").decode())
    return Case(words, f"sweep.yaml ({way}): {words[5:]}", ("sweep.yaml", "--set", "--folder", "metric", "parameters"))


def plan_case(rng: random.Random, box: Path) -> Case:
    """A sweep's YAML with something off in it, read and planned."""
    spec = sweep_off(rng)
    for _ in range(rng.choice((1, 1, 2, 3))):
        spec = changed(spec, rng)
    text = json.dumps(spec).encode(errors="replace").decode()

    def read() -> None:
        asked = parse_spec(text, "name", "sweep.yaml")
        if asked.method != "bayes":
            plan(asked, ensemble=4)

    return Case(["sweep.yaml"], text[:300], ("sweep.yaml", "parameters", "family"), direct=read)


def config_case(rng: random.Random, box: Path) -> Case:
    """A config.yaml with something else in a few places, read and checked as every command does first."""
    family = rng.choice(sorted(TINY))
    value = config_of(family)
    for _ in range(rng.choice((1, 1, 2, 3))):
        value = changed(value, rng)
    cls = load(load_family(family).config)

    def read() -> None:
        config = from_dict(cls, value, "config.yaml: ", complete=True)
        config.check()
        runs(config)

    return Case([family, "config.yaml"], json.dumps(value)[:300], ("config.yaml", "--"), direct=read)


@functools.cache
def config_of(family: str) -> Any:
    """Return the values of a sample's config.yaml."""
    value = files.read_yaml(SAMPLES[0] / family / "config.yaml")
    del value["bestguess"]
    return value


_FILES = {
    "model.safetensors": ["integers predict 1 2 3 --model model.safetensors"],
    "scratch.npz": ["scratch copilot --weights scratch.npz --steps 0"],
    "weights.pt": ["rolls evaluate --ckpt weights.pt --out new", "rolls predict --ckpt weights.pt"],
    "protocol.json": ["rolls audit protocol.json"],
    "rolls.u16": [
        "rolls test rolls.u16",
        "rolls audit protocol.json",
        "rolls predict rolls",
        "rolls train --steps 2 --u16-path rolls.u16 --out new",
    ],
    "rolls.u16.json": [
        "rolls test rolls.u16",
        "rolls predict rolls",
        "rolls make --n 4000 --alphabet 8 --out rolls.u16",
    ],
    "plain.txt": [
        "scratch stdlib --corpus plain.txt",
        "text train --corpus plain.txt --tokenizer characters --cut-at 5 --out new",
    ],
    "texts.jsonl": ["text train --corpus texts.jsonl --tokenizer characters --cut-at 5 --out new"],
    "votes.json": ["text votes votes.json", "text votes votes.json votes.json"],
    "table.parquet": ["text train --corpus table.parquet --source-field text --tokenizer words --cut-at 2 --out new"],
    "table.csv": ["text train --corpus table.csv --source-field text --tokenizer words --cut-at 2 --out new"],
}


def file_case(rng: random.Random, box: Path) -> Case:
    """A single file that is damaged."""
    name = rng.choice(sorted(_FILES))
    lay(box, "rolls")
    path = box / name
    before = path.read_bytes()
    way = damage(path, rng)
    words = rng.choice(_FILES[name]).split()
    model = name in ("model.safetensors", "scratch.npz", "weights.pt")
    # What is added behind an npz's end is no part of it.
    model = model and not (name.endswith(".npz") and way == "grown")
    altered = model and path.is_file() and not path.is_symlink() and path.read_bytes() != before
    return Case(words, f"{name}: {way}", (name, name.split(".")[0], "--"), weights=altered)


def table_case(rng: random.Random, box: Path) -> Case:
    """What an experiment or a sweep wrote, of which one file is damaged: judged again, or in place of a ledger."""
    lay(box, "results", "table")
    words, files_of = rng.choice(
        (
            ("experiment eigenvalue --from results/runs.csv --out new", ("runs.csv", "sweep.yaml", "verdicts.json")),
            ("experiment eigenvalue --from results/runs.csv --out new", ("runs.csv", "sweep.yaml", "verdicts.json")),
            ("sweep sweep.yaml --folder new --reuse table", ("runs.csv", "sweep.yaml", "sweep.json")),
            ("sweep sweep.yaml --folder new --rates table/runs.csv", ("runs.csv", "sweep.yaml", "sweep.json")),
            ("sweep sweep.yaml --no-train --folder new --reuse table --out again", ("runs.csv", "sweep.json")),
        )
    )
    home = box / ("results" if "results" in words else "table")
    path = home / rng.choice(("runs.csv", *files_of))
    way = retyped(path, rng) if path.suffix == ".csv" and rng.random() < 0.6 else damage(path, rng)
    return Case(words.split(), f"{path.relative_to(box)}: {way}", ("results", "eigenvalue", "--"))


def place_case(rng: random.Random, box: Path) -> Case:
    """A folder that leads elsewhere, or a disk that is full, or an environment that is off."""
    family = rng.choice(sorted(_READERS))
    words = rng.choice(_READERS[family]).split()
    lay(box, family)
    way = rng.randrange(3)
    if way == 0:
        place = rng.choice(
            (
                "checkpoints",
                "checkpoints/part-0",
                "figures",
                ".",
                "metrics.jsonl",
                ".lock",
                "report.html",
                "evaluation.json",
            )
        )
        path = box / family / place
        if place != ".":
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
            os.symlink(box / "outside" / rng.choice(("file", "folder", "none")), path)
        return Case(words, f"{family}/{place}: leads out", (family, "--"))
    if way == 1:
        return Case(words, "the disk is full", (family, "--", "made", "new"), small_disk=True)
    key, value = rng.choice(
        [("BESTGUESS_MEMORY", one) for one in ("x", "", "-1", "nan", "inf", "1e400", "0", "5", "9" * 5000)]
        + [("PJRT_NPROC", one) for one in ("x", "", "-1", "0", "1e9", "9" * 30)]
        + [
            ("OMP_NUM_THREADS", "x"),
            ("COLUMNS", "x"),
            ("COLUMNS", "0"),
            ("CUDA_VISIBLE_DEVICES", "x"),
            ("SLURM_PROCID", "x"),
        ]
    )
    return Case(words, f"{key}={value[:20]}", (key, family, "--"), environment={key: value})


NAMES = {
    "config_case": "config.yaml, read and checked",
    "plan_case": "a sweep YAML, read and planned",
    "flag_case": "flags of every command",
    "folder_case": "a file of a trained folder",
    "ledger_case": "a file of a sweep's folder",
    "sweep_case": "a sweep YAML, or --set",
    "file_case": "another file that is read",
    "table_case": "results of an experiment, judged again",
    "place_case": "links out, a full disk, the environment",
}
KINDS = (
    *(
        (flag_case, 40),
        (folder_case, 20),
        (ledger_case, 8),
        (sweep_case, 8),
        (file_case, 8),
        (place_case, 6),
        (table_case, 4),
    ),
    *((config_case, 70), (plan_case, 70)),
)


def case(seed: int, number: int, box: Path) -> Case:
    """Return case `number`, whose files are laid out in `box`."""
    rng = random.Random(f"{seed} {number}")
    kinds, shares = zip(*KINDS)
    chosen = rng.choices(kinds, shares)[0]
    return dataclasses.replace(chosen(rng, box), kind=NAMES[chosen.__name__])
