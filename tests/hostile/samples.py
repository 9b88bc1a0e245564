"""What a sound user has: trained folders of every family, a sweep's ledger, and every other file that is read."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bestguess.cli import main
from bestguess.text.sheet import name_of

RESULTS = Path(__file__).parents[2] / "experiments" / "results" / "eigenvalue"
"""What a committed experiment wrote."""

SHORT = [
    *("--steps", "2", "--warmup-steps", "1", "--validate-every", "1", "--checkpoint-every", "0", "--batch-size", "4"),
    *("--validation-sequences", "4"),
]
TINY = {
    "filters": [
        *("--latent-dim", "4", "--length", "8", "--layers", "1", "--d-model", "8", "--heads", "2"),
        *("--test-sequences", "8", "--context", "4", "--horizons", "2", "4", "--rollouts", "8"),
    ],
    "integers": [
        *("--layers", "1", "--d-model", "8", "--heads", "2", "--length", "3", "--phases", "1", "--prior", "narrow"),
    ],
    "rolls": [
        *("--u16-path", "rolls.u16", "--window", "8", "--outputs", "2", "--test-samples", "160", "--tokens", "raw"),
        *("--layers", "1", "--d-model", "8", "--heads", "2", "--dropout", "0", "--preset", "small"),
        *("--validation", "0.1", "--test", "0.1"),
    ],
    "text": [
        *("--world", "tiny", "--layers", "1", "--d-model", "8", "--heads", "2", "--test-documents", "16"),
        *("--generated", "0", "--hold", "0", "--architecture", "decoder-only"),
    ],
}
"""By family, what makes its config so small that it trains in a moment."""
TOY = "tests.sweep.toy_family"
SWEEP = {
    "program": "bestguess.sweep.agent",
    "method": "grid",
    "metric": {"name": "validation_loss", "goal": "minimize"},
    "parameters": {
        "family": {"value": TOY},
        "train.first_seed": {"values": [0, 1]},
        "train.learning_rate": {"values": [0.01, 0.03]},
        "fault": {"values": ["", "raise"]},
    },
}
PROTOCOL = {
    "file": "rolls.u16",
    "values": 4000,
    "window": 8,
    "heads": 1,
    "training": {"start": 0, "stop": 3000, "stride": 8, "with_replacement": False},
}


def call(*words: object) -> int:
    """Run a command line in this process, without its output; return its exit status."""
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere), contextlib.redirect_stderr(sys.stderr):
        try:
            main([str(word) for word in words])
        except SystemExit as stop:
            return int(stop.code or 0)
    return 0


def make(folder: Path, families: Sequence[str] = tuple(TINY)) -> None:
    """Make the samples in `folder`, which becomes the working directory; nothing is damaged yet."""
    folder.mkdir(parents=True, exist_ok=True)
    os.chdir(folder)
    assert call("rolls", "make", "--source", "hmm", "--alphabet", "8", "--n", "4000", "--out", "rolls.u16") == 0
    for family in families:
        more = ["--ckpt", "weights.pt"] if family == "rolls" else []
        status = call(family, "train", *SHORT, *TINY[family], *more, "--out", family)
        assert status == 0, (family, status)
        (folder / family / "report.html").unlink()
        shutil.rmtree(folder / family / "figures")
        (folder / family / "figures").mkdir()
    if "integers" in families:
        assert call("integers", "export", "integers", "--out", "model.safetensors") == 0
    (folder / "sweep.yaml").write_text(json.dumps(SWEEP))
    assert call("sweep", "sweep.yaml", "--folder", "ledgers") == 1
    assert call("sweep", "status", next((folder / "ledgers").iterdir())) == 1
    (folder / "ledgers" / "sweep").symlink_to(next((folder / "ledgers").glob("sweep-*")).name)
    assert call("sweep", "ledgers/sweep", "--no-train", "--out", "table") == 1
    (folder / "protocol.json").write_text(json.dumps(PROTOCOL))
    (folder / "texts.jsonl").write_text(
        "\n".join(json.dumps({"text": f"the {i} thing is a thing of {i}"}) for i in range(40))
    )
    (folder / "table.csv").write_text("text,kind\n" + "\n".join(f'"a {i} b {i * i} c",{i}' for i in range(40)))
    (folder / "plain.txt").write_text("\n".join(f"def f{i}(x):\n    return x + {i}\n" for i in range(4000)))
    (folder / "votes.json").write_text(json.dumps(_votes()))
    _parquet(folder / "table.parquet")
    (folder / "results").mkdir()
    for name in ("runs.csv", "sweep.yaml", "verdicts.json"):
        shutil.copyfile(RESULTS / name, folder / "results" / name)
    _scratch(folder / "scratch.npz")
    for path in folder.rglob(".lock"):
        path.unlink()


def _votes() -> dict[str, Any]:
    """What a blind sheet of three documents saves."""
    key = {"version": 1, "runs": ["a", "b"], "documents": [3, 5, 8], "swapped": [0, 1, 0], "identical": 0, "seed": 0}
    told = base64.b64encode(json.dumps(key).encode()).decode()
    votes = [
        {"document": number, "vote": vote, "comment": "" if vote == "same" else "it names her"}
        for number, vote in zip(key["documents"], ("A", "same", "B"))
    ]
    return {"version": 1, "sheet": name_of(told), "key": told, "rater": "Ada", "votes": votes}


def _parquet(path: Path) -> None:
    import pyarrow
    import pyarrow.parquet

    table = pyarrow.table({"text": [f"a {i} b {i * i} c" for i in range(40)], "kind": list(range(40))})
    pyarrow.parquet.write_table(table, path)


def _scratch(path: Path) -> None:
    from bestguess.scratch.demos import checkpoint, copilot
    from bestguess.scratch.fast.gpt import FastGPT

    checkpoint.save(path, FastGPT(copilot.CONFIG, 0), "a sample")


if __name__ == "__main__":
    make(Path(sys.argv[1]))
