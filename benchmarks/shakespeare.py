"""Character-level losses that everybody knows, and the time to an equal loss beside PyTorch.

    uv run python benchmarks/shakespeare.py losses input.txt --device gpu --seeds 3 --out gpu.json
    uv run --group bench python benchmarks/shakespeare.py race input.txt --device gpu --out race.json

input.txt is tiny Shakespeare, as in nanoGPT: the first int(0.9 n) characters are trained on, of the others every one
but the first is scored, in windows side by side, so with a window's context or less. nanoGPT's README gives 1.4697 on
a GPU (10.65 million weights, windows of 256, 5,000 steps of 64) and 1.88 on a CPU (4 layers, 128 wide, windows of 64,
2,000 steps of 12).

losses: trains the preset `characters-gpu` or `characters` (`--change` alters it, several times for several variants),
one seed after another. Reported are, for every seed: the best loss of any validation on all that is not trained on,
where the same text chooses and is reported on, as in nanoGPT; the loss of the second half of its windows at the step
that is best on the first half; the loss after the last step; and the steps and seconds to the published figure.
Seconds are those of training steps, after compilation; validations are not in them.

race: the same model, trained by AdamW with warm-up and cosine, in `bestguess` and in PyTorch: eagerly on a CPU, on a
GPU under torch.compile, its mode reduce-overhead, and with the whole compiled step in one CUDA graph, with parameters
apart and with the blocks' matrices in one flat tensor. First both are given the same weights and windows and must agree
in float32, without dropout, to 1e-4 of the largest value. On a GPU, what torch.compile makes of a whole batch must
agree with eager PyTorch in the same way. Then variants take turns, and ratios are those within a round. Then
`bestguess` and the fastest sound PyTorch (see side_by_side.py) are trained from their first step on to --to, validated
every --steps; seconds are again of training steps.

results/shakespeare_race_h200.json is of an earlier script: its flat variant kept norms' gains in a flat tensor, too,
whose gradient PyTorch 2.11 does not write (see `torch_filters.Weights`), and did not learn as the others; nothing kept
it from being the rival.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from arguments import choosing, chosen, flags
from side_by_side import (
    Stepped,
    agree,
    begin,
    compare_rates,
    error_line,
    need_torch,
    our_training,
    own_devices,
    print_table,
    print_unsound,
    recipe,
    save,
    take_turns,
    torch_device,
)

PUBLISHED = {"gpu": 1.4697, "cpu": 1.88}
RACE = {
    "gpu": "optimizer=adamw learning_rate=0.002 steps=2000 hold=0 average=0 weight_decay=0.1 attention_dropout=0",
    "cpu": "optimizer=adamw learning_rate=0.002 hold=0 average=0",
}
"""What makes the preset one that PyTorch can be given: its own optimiser, a cosine, the last weights."""
TO = {"gpu": 1.5, "cpu": 1.88}
TINY = "context=8 layers=1 d_model=16 heads=2 batch_size=4 dtype=float32"


def arguments() -> argparse.Namespace:
    """Return the command line's choices."""
    steps = "steps of a turn, and between validations (default: the preset's)"
    parser = flags(__doc__, steps, rounds="rounds of a race that are timed")
    parser.add_argument("what", choices=("losses", "race"))
    parser.add_argument("corpus", type=Path, help="tiny Shakespeare, or any plain text")
    parser.add_argument("--seeds", type=int, default=1, help="of losses")
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument(
        "--change", action="append", default=[], metavar="'KEY=VALUE ...'",
        help="change the preset, such as 'dropout=0.3 steps=1200'; given again, another variant",
    )  # fmt: skip
    parser.add_argument("--to", type=float, help=f"loss of a race; {TO['gpu']} on a gpu, {TO['cpu']} on a cpu")
    choosing(parser)
    parser.add_argument("--minutes", type=float, default=60.0, help="begin no further seed or training after so long")
    args = parser.parse_args()
    args.to = args.to or TO[args.device]
    return args


def main() -> None:
    """Run what the command line asks for, print it, write it."""
    args = arguments()
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # PyTorch needs memory on the same device
    if args.device == "cpu":
        os.environ["JAX_PLATFORMS"] = "cpu"

    from bestguess.train.cores import use_cores

    configs = [configuration(args, change) for change in args.change or [""]]
    if args.device == "cpu":  # as `bestguess text train` does
        use_cores(configs[0].train.batch_size * configs[0].task.context * configs[0].model.d_model ** 2)
    result: dict[str, Any] = {
        **begin(args, [args.what, args.corpus.name, *sys.argv[3:]]),
        "variants": {},
    }
    args.started = time.perf_counter()
    for change, config in zip(args.change or [""], configs):
        if time.perf_counter() - args.started > 60 * args.minutes:  # before anything is compiled for it
            print(f"{change or 'preset'}: not begun, {args.minutes:g} minutes are over", flush=True)
            continue
        found = result["variants"][change or "preset"] = {}
        (losses if args.what == "losses" else race)(args, config, found, lambda: save(args, result))
    save(args, result)
    print(f"({time.perf_counter() - args.started:.0f} s in all)", flush=True)


def configuration(args: argparse.Namespace, change: str) -> Any:
    """Return the preset with its changes."""
    import yaml

    from bestguess.config import nested, with_values
    from bestguess.text.config import BASES

    base = BASES[("characters-gpu" if args.device == "gpu" else "characters",)]
    task = dataclasses.replace(base.task, corpus=str(args.corpus), validation_fraction=0.1, test_fraction=0.0)
    base = dataclasses.replace(base, task=task)
    words = " ".join([RACE[args.device] if args.what == "race" else "", TINY if args.tiny else "", change]).split()
    values = {key: yaml.safe_load(value) for key, value in (word.split("=", 1) for word in words)}
    values |= {"first_seed": args.first_seed, "checkpoint_every": float("inf")}
    if args.steps:
        values["validate_every"] = args.steps
    if "learning_rate" in values:
        values["learning_rate"] = [values["learning_rate"]]
    if args.what == "race":
        values |= {"schedule": "cosine"}
    return with_values(base, nested(base, values))


# ---- our own trainings


class Ours(Stepped):
    """A training of `bestguess`, stepped by hand; validation is left to `validated`."""

    def __init__(self, args: argparse.Namespace, config: Any):
        import jax

        from bestguess.text.documents import Documents
        from bestguess.train.program import Program

        training = our_training("text", config)
        self.config, self.every = config, config.train.validate_every
        self.windows = training.problem.validation
        few = Documents(*(leaf[:2] for leaf in jax.tree.leaves(training.problem.validation)))
        self.problem = dataclasses.replace(training.problem, validation=few)
        self.tokens = int(self.windows.target_length.sum())
        self.program = Program(self.problem, config.train, training.members, own_devices(args))
        started = time.perf_counter()
        self.program.compile(self.every)
        self.state, self.step = self.program.start(), 0
        jax.block_until_ready(self.state)
        self.compile_seconds = time.perf_counter() - started
        self.runs, self.turn = 1, self.every

    def restart(self, seed: int) -> None:
        """Begin anew with another seed; what is compiled stays."""
        import jax
        import numpy as np

        members = jax.device_get(self.program.members)
        seeds = np.full_like(np.asarray(members.seed), seed)
        members = dataclasses.replace(members, seed=seeds, task=dataclasses.replace(members.task, seed=seeds))
        self.program = self.program.with_members(members)
        self.state, self.step = self.program.start(), 0
        jax.block_until_ready(self.state)

    def validated(self) -> Any:
        """Return the loss of every window that is not trained on (nats a window, float64)."""
        import jax
        import numpy as np

        model = jax.tree.map(lambda leaf: leaf[0], self.state.judged)
        return np.asarray(jax.device_get(_nats()(model, self.windows)), np.float64)


@functools.cache
def _nats() -> Callable:
    import equinox as eqx
    import jax
    import jax.numpy as jnp

    from bestguess.nn.cross_entropy import cross_entropy
    from bestguess.text.documents import Document, within

    @eqx.filter_jit
    def nats(model, windows):
        def of(one):
            one = Document(*(leaf.astype(jnp.int32) for leaf in one))
            loss, _ = cross_entropy(model.logits(*one[:3]), one.target)
            return jnp.sum(jnp.where(within(one), loss, 0.0))

        rows = (windows.source, windows.source_length, windows.target, windows.target_length)
        return jax.lax.map(of, rows, batch_size=64)

    return nats


def losses(args: argparse.Namespace, config: Any, found: dict[str, Any], keep: Callable[[], None]) -> None:
    """Train each seed to its end and note its curve, and what is reported of it."""
    import jax
    import numpy as np

    from bestguess.config import to_dict

    ours = Ours(args, config)
    lengths = np.asarray(ours.windows.target_length, np.float64)
    half = len(lengths) // 2
    parts = {"all": slice(None), "first": slice(None, half), "second": slice(half, None)}
    found |= {
        "config": {room: to_dict(config)[room] for room in ("task", "model", "train")},
        "parameters": sum(leaf[0].size for leaf in jax.tree.leaves(ours.state.model)),
        "scored": ours.tokens,
        "compile_seconds": ours.compile_seconds,
        "seeds": [],
    }
    found["config"]["task"]["corpus"] = args.corpus.name
    for seed in range(args.first_seed, args.first_seed + args.seeds):
        if time.perf_counter() - args.started > 60 * args.minutes:
            print(f"seed {seed}: not begun, {args.minutes:g} minutes are over", flush=True)
            break
        ours.restart(seed)
        curve, seconds = [], 0.0
        while ours.step < config.train.steps:
            begun = time.perf_counter()
            train = ours.run(min(ours.every, config.train.steps - ours.step))
            seconds += time.perf_counter() - begun
            nats = ours.validated()
            told = {name: float(nats[part].sum() / lengths[part].sum()) for name, part in parts.items()}
            curve.append({"step": ours.step, "seconds": seconds, "train": train, **told})
        one = reported(curve, PUBLISHED[args.device]) | {"seed": seed, "curve": curve}
        found["seeds"].append(one)
        print(
            f"seed {seed}: best {one['best']:.4f} at step {one['best_step']}, second half {one['halved']:.4f} at step "
            f"{one['halved_step']}, last {one['last']:.4f}; {PUBLISHED[args.device]} after {one['steps_to']} steps, "
            f"{one['seconds_to'] and round(one['seconds_to'], 2)} s; {seconds:.1f} s in all",
            flush=True,
        )
        keep()
    for name in ("best", "halved", "last", "steps_to", "seconds_to"):
        values = [one[name] for one in found["seeds"] if one[name] is not None]
        found[name] = statistics.mean(values) if len(values) == len(found["seeds"]) > 0 else None
        found[f"{name}_deviation"] = statistics.stdev(values) if len(values) > 1 else None
    print(
        f"mean of {len(found['seeds'])} seeds, {found['parameters']:,} parameters: best {found['best']:.4f}, "
        f"second half {found['halved']:.4f}, last {found['last']:.4f}",
        flush=True,
    )
    keep()


def reported(curve: list[dict[str, Any]], published: float) -> dict[str, Any]:
    """Return what is reported of a training: see the module's docstring."""
    best = min(curve, key=lambda one: one["all"])
    chosen = min(curve, key=lambda one: one["first"])
    reached = next((one for one in curve if one["all"] <= published), None)
    return {
        "best": best["all"],
        "best_step": best["step"],
        "halved": chosen["second"],
        "halved_step": chosen["step"],
        "last": curve[-1]["all"],
        "steps_to": reached and reached["step"],
        "seconds_to": reached and reached["seconds"],
    }


# ---- the race


def race(args: argparse.Namespace, config: Any, found: dict[str, Any], keep: Callable[[], None]) -> None:
    """Compare ours with PyTorch: equality, speed in turns, time to an equal loss."""
    from bestguess.config import to_dict

    found["config"] = {room: to_dict(config)[room] for room in ("task", "model", "train")}
    found["config"]["task"]["corpus"] = args.corpus.name
    made = makers(args, config)
    need_torch(made)
    compare(args, config, found)
    wrong = compare_compiled(args, config, made, found)
    found["training"] = {}
    live = take_turns(made, args.rounds, found["training"], keep)
    for name in wrong.keys() & found["training"].keys():
        found["training"][name]["unsound"] = wrong[name]
    timed = compare_rates(found["training"], None)
    best = next((f["rival"] for f in timed.values() if "rival" in f), None)
    rows: list[tuple] = [("", "steps/s", "min–max", "ratio to best PyTorch", "min–max", "set-up s", "loss")]
    for name, f in found["training"].items():
        if name not in timed:
            rows.append((name, "failed", *[""] * 5))
            continue
        ratio = (f"{f['ratio']:.2f}", "{:.2f}–{:.2f}".format(*f["ratio_range"])) if best else ("", "")
        rates = f"{min(f['rates']):.1f}–{max(f['rates']):.1f}"
        loss = f"{f['mean_loss']:.3f}" if "mean_loss" in f else ""
        rows.append((name, f"{f['steps_per_second']:.1f}", rates, *ratio, f"{f['setup_seconds']:.1f}", loss))
    print_table(rows)
    print_unsound(timed)
    del live
    found["to"], found["reached"] = args.to, {}
    for name in ("bestguess", *([best] if best else [])):
        if name not in timed or time.perf_counter() - args.started > 60 * args.minutes:
            continue
        found["reached"][name] = to_loss(made[name](), config, args.to)
        one = found["reached"][name]
        print(f"{name}: {one['loss']:.4f} after {one['steps']} steps, {one['seconds']:.2f} s of training", flush=True)
        keep()


def to_loss(trainer: Any, config: Any, to: float) -> dict[str, Any]:
    """Train until the validation loss is at most `to`, or to the last step; return loss, steps and seconds."""
    curve, seconds, taken = [], 0.0, getattr(trainer, "taken", 0)
    while taken < config.train.steps:
        steps = min(config.train.validate_every, config.train.steps - taken)
        begun = time.perf_counter()
        trainer.run(steps)
        seconds, taken = seconds + time.perf_counter() - begun, taken + steps
        loss = float(trainer.validated().sum() / trainer.tokens)
        curve.append({"step": taken, "seconds": seconds, "all": loss})
        if loss <= to:
            break
    return {"loss": curve[-1]["all"], "steps": taken, "seconds": seconds, "curve": curve}


def torch_forms(args: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """Return, by name, the forms that PyTorch is run in."""
    if args.device == "gpu":
        graph = {"compile": "default", "graph": True}
        return {
            "PyTorch compile": {"compile": "default"},
            "PyTorch compile, reduce-overhead": {"compile": "reduce-overhead"},
            "PyTorch compile, step in a CUDA graph": graph,
            "PyTorch compile, step in a CUDA graph, flat": graph | {"flat": True},
        }
    return {
        f"PyTorch eager, {threads} thread{'s' * (threads > 1)}": {"threads": threads}
        for threads in sorted({1, len(os.sched_getaffinity(0))})
    }


def makers(args: argparse.Namespace, config: Any) -> dict[str, Callable[[], Any]]:
    """Return, by name, what makes each variant: `run(steps)` and `validated()`."""

    def theirs(form: dict[str, Any]) -> Any:
        import torch_filters
        import torch_text

        problem = common_problem(config)
        trainer = torch_filters.Trainer(
            problem, torch_filters.Form(**form), torch_device(args), config.model.dtype, torch_text.Loss
        )
        trainer.runs, trainer.turn = 1, config.train.validate_every
        trainer.tokens, trainer.validated = int((problem.scored[:, 1:] != 0).sum()), trainer.loss.validated
        return trainer

    made: dict[str, Callable[[], Any]] = {
        name: lambda form=form: theirs(form) for name, form in torch_forms(args).items()
    }
    made["bestguess"] = lambda: Ours(args, config)
    return chosen(made, args)


def named_weights(model: Any) -> dict[str, Any]:
    """Return every weight of a model by the name that the PyTorch model knows it under."""
    import numpy as np

    found = {"embed": model.embedding, "norm": model.decoder.norm.gain}
    for i, block in enumerate(model.decoder.blocks):
        found |= {f"{i}.qkv": block.attention.qkv, f"{i}.out": block.attention.out}
        found |= {f"{i}.up": block.feed_forward.up, f"{i}.down": block.feed_forward.down}
        found |= {
            f"{i}.attention_norm": block.attention_norm.gain,
            f"{i}.feed_forward_norm": block.feed_forward_norm.gain,
        }
    return {name: np.asarray(value, np.float32) for name, value in found.items()}


def common_problem(config: Any, model: Any = None) -> Any:
    """Return what the PyTorch model is given: weights (of our run's first step), texts, how it is trained."""
    import jax
    import numpy as np

    import torch_text

    training = our_training("text", config)
    problem, train = training.problem, config.train
    if model is None:
        own = jax.tree.map(lambda leaf: leaf[0], training.members.task)
        model = problem.init(own, jax.random.key(train.first_seed))
    if (config.model.norm, config.model.norm_place, config.model.positions, config.model.tied, config.model.bias) != (
        "rms", "pre", "rope", True, False,
    ) or config.model.activation != "gelu" or config.task.stride:  # fmt: skip
        raise ValueError("the PyTorch model knows RMSNorm before each sub-layer, RoPE, GELU and a tied head only")
    held = problem.validation
    return torch_text.Problem(
        weights=named_weights(model),
        **recipe(train),
        layers=config.model.layers,
        heads=config.model.heads,
        window=config.task.context,
        rope_base=config.model.rope_base,
        eps=model.decoder.norm.eps,
        dropout=config.model.dropout,
        attention_dropout=config.model.attention_dropout,
        text=np.asarray(problem.text),
        scored=np.concatenate([np.asarray(held.source), np.asarray(held.target)], axis=1),
    )


def exactly(config: Any) -> Any:
    """Return the same model in float32 without dropout."""
    model = dataclasses.replace(config.model, dtype="float32", dropout=0.0, attention_dropout=0.0)
    return dataclasses.replace(config, model=model)


def compare_compiled(
    args: argparse.Namespace, config: Any, names: Iterable[str], found: dict[str, Any]
) -> dict[str, str]:
    """Return which of these variants are compiled to another gradient than eager PyTorch's, and what is off in each.

    Of a whole batch, in float32 without dropout: what a compiler fuses depends on sizes.
    """
    compiled = {name: form for name, form in torch_forms(args).items() if name in set(names) and form.get("compile")}
    if not compiled or args.tiny:
        return {}
    import torch_text

    problem, limit = common_problem(exactly(config)), found["equality"]["limit"]
    told = found["equality"]["compiled_gradient"] = {}
    wrong = {}
    for name, form in compiled.items():
        kind = "flat" if form.get("flat") else "apart"
        if kind not in told:
            try:
                told[kind] = torch_text.compiled_errors(problem, torch_device(args), kind == "flat")
            except Exception as error:
                told[kind] = {error_line(error): float("inf")}
        off = [weight for weight, error in told[kind].items() if not error < limit]
        if off:
            wrong[name] = f"its compiled gradient differs from eager PyTorch's by more than {limit:g}: {', '.join(off)}"
    return wrong


def compare(args: argparse.Namespace, config: Any, found: dict[str, Any]) -> None:
    """Give both models the same weights and windows; end unless they agree in float32."""
    import jax
    import jax.numpy as jnp
    import numpy as np

    import torch_text
    from bestguess.text.problem import Drawn

    exact = exactly(config)
    training = our_training("text", exact)
    problem = training.problem
    own = jax.tree.map(lambda leaf: leaf[0], training.members.task)
    model = problem.init(own, jax.random.key(0))
    # Gains start equal, which would hide a confusion of them.
    keys = iter(jax.random.split(jax.random.key(1), 200))
    model = jax.tree.map(lambda w: w + 0.05 * jax.random.normal(next(keys), w.shape), model)
    rows = jnp.asarray(np.random.default_rng(2).integers(0, len(problem.text) - config.task.context, 3))
    tokens = np.stack([np.asarray(problem.text[row : row + config.task.context + 1]) for row in rows.tolist()])

    @jax.jit
    def ours(model):
        def mean(model):
            loss, count = jax.vmap(lambda row: problem.loss(model, own, Drawn(row, None)))(rows)
            return jnp.sum(loss) / jnp.sum(count)

        return jax.vmap(model.next_logits)(jnp.asarray(tokens[:, :-1], jnp.int32)), jax.value_and_grad(mean)(model)

    with jax.default_matmul_precision("highest"):
        logits, (loss, gradient) = ours(model)
    expected, theirs = named_weights(gradient), common_problem(exact, model)
    worst = {"logits": 0.0, "loss": 0.0, "gradient": 0.0}
    apart = lambda a, b: float(np.max(np.abs(a - b)) / np.max(np.abs(b)))  # noqa: E731
    for attention, flat in (("default", False), ("default", True), ("explicit", False)):
        got_loss, got, got_gradient = torch_text.loss_and_gradient(theirs, torch_device(args), tokens, attention, flat)
        worst["loss"] = max(worst["loss"], abs(got_loss / float(loss) - 1))
        worst["logits"] = max(worst["logits"], apart(got, np.asarray(logits)))
        worst["gradient"] = max(worst["gradient"], *(apart(got_gradient[name], expected[name]) for name in expected))
    agree(worst, found)


if __name__ == "__main__":
    main()
