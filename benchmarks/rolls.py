"""Time the rolls family's training against PyTorch: same model, batch, data, optimiser, one process.

    uv run --group bench python benchmarks/rolls.py --device gpu --out gpu.json
    uv run --group bench python benchmarks/rolls.py --device cpu --out cpu.json

Variants take turns (A B C A B C ...), so that whatever else the machine does falls on all of them. A figure is the
median over the rounds; a ratio is the median of the ratios within each round, to the PyTorch variant whose median
is highest. Every variant takes windows of 128 values, at random places or in a random order, scores the next k values
at every position, clips, and updates with AdamW. A chunk of `bestguess` ends in a validation of 2 windows, the fewest
possible, and its steps gather the first pass's evidence: both are in the time.

Values: of a file of uniform ones from 0 to 10,000, which is made, or of `--u16-path`. `bestguess` trains on windows
made up on the device (what feeding costs is the difference to the others), on values that live on the device, and
on windows that the host reads from the file. PyTorch's values live on the device.

GPU: 27 million weights in bfloat16 (256 × 128, 8 layers, 512 wide, SwiGLU 1344, vocabulary 1,024, 4 outputs).
PyTorch runs eagerly; under torch.compile; under its modes reduce-overhead (CUDA graphs of the model) and
max-autotune-no-cudagraphs; and with the whole compiled step, optimiser included, in one CUDA graph, with parameters
apart and the blocks' matrices in one flat tensor, and with cuDNN's attention; with weights that are cast once a step,
and under autocast.
CPU: the family's defaults in float32, with a device to each core as the command trains, against eager PyTorch with
1 thread and with as many as there are cores. Before, both models are given the same weights and windows and must agree
in float32 to 1e-4 of the largest value.

Floating-point operations of a step: 6 · N · B · T for N weights in products (without the embedding: a multiplication
and an addition, forwards once and backwards twice), and 6 · layers · B · T² · D for attention (q kᵀ and the weighted
sum of v, under a causal mask half of each). Norms, softmax, the optimiser and what the backward pass computes again
are not counted. MFU is their rate over 989 TFLOP/s, the dense bfloat16 peak of an H100 or H200 SXM.

`--profile DIR` adds what XLA says of the compiled chunk with resident values and, of one such chunk, the kernels that
took longest; the trace stays in DIR.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib.util
import os
import tempfile
import time
from pathlib import Path
from typing import Any

from arguments import choosing, chosen, flags, parsed, profiling, sizing, use_tensor_cores
from side_by_side import (
    Stepped,
    agree,
    begin,
    compare_rates,
    device_name,
    need_torch,
    our_training,
    own_devices,
    print_table,
    print_unsound,
    profile,
    recipe,
    save,
    take_turns,
    torch_device,
)

PEAK = 989.0
"""TFLOP/s of dense bfloat16 products, of an H100 or H200 SXM."""
SIDES = 10_001
FEEDS = {"made up on the device": "made up", "resident": "resident", "fed by the host": "host"}
SIZES = {
    "gpu": {"batch": 256, "window": 128, "d_model": 512, "layers": 8, "heads": 8, "vocab": 1024, "values": 10**8},
    "cpu": {"batch": 32, "window": 128, "d_model": 64, "layers": 2, "heads": 4, "vocab": 1024, "values": 10**7},
    "tiny": {"batch": 4, "window": 16, "d_model": 32, "layers": 2, "heads": 2, "vocab": 16, "values": 10**5},
}


def arguments() -> argparse.Namespace:
    """Return the command line's choices."""
    parser = flags(__doc__, "steps of a variant's turn; 100 on a gpu, 20 on a cpu", "of blocks and head; ")
    told = {
        "batch": "windows in a batch",
        "window": "inputs of a window",
        "d_model": "width",
        "layers": "blocks",
        "heads": "attention heads",
        "vocab": "bins of equal mass",
        "values": "values of the file that is made",
    }
    sizing(parser, told, SIZES)
    parser.add_argument("--d-ff", type=int, help="hidden width; about 8/3 of the width: 1344 for 512")
    parser.add_argument("--outputs", type=int, nargs="+", default=[4], help="output heads; several: one after another")
    parser.add_argument("--u16-path", type=Path, help="file of values, instead of one that is made")
    parser.add_argument("--workers", type=int, default=4, help="threads that read windows for the host's variant")
    choosing(parser)
    parser.add_argument("--without", default="", help="no variant whose name holds one of these, comma-separated")
    profiling(parser)
    return parsed(parser, (5, 100, 20), SIZES)


def main() -> None:
    """Run what the command line asks for, print it, write it."""
    args = arguments()
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # PyTorch needs memory on the same device
    os.environ.setdefault("XLA_PYTHON_CLIENT_MEM_FRACTION", "0.9")
    if args.device == "cpu":
        os.environ["JAX_PLATFORMS"] = "cpu"

    from bestguess.train.cores import use_cores

    if args.device == "cpu":
        use_cores(args.batch * args.window * args.d_model**2)  # as `bestguess rolls train` does
    hidden = ("out", "profile", "u16_path")
    result: dict[str, Any] = {
        **begin(args),
        "xla_flags": os.environ.get("XLA_FLAGS", ""),
        "settings": {k: v for k, v in vars(args).items() if k not in hidden},
        "outputs": {},
    }
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        if args.u16_path is None:
            args.u16_path = made_file(Path(folder), args.values)
        for outputs in args.outputs:
            found = result["outputs"][str(outputs)] = {}
            live = training(args, outputs, found, lambda: save(args, result))
            if args.profile:
                kept = next((one for name, one in live.items() if name == "bestguess, resident"), None)
                found["profile"] = profile(
                    lambda kept=kept, outputs=outputs: kept or Ours(args, outputs, "resident"),
                    f"{args.profile}/{outputs}",
                )
            del live
            save(args, result)
    print(f"({time.perf_counter() - started:.0f} s in all)", flush=True)


def made_file(folder: Path, count: int) -> Path:
    """Write `count` uniform values and return the file's path."""
    import numpy as np

    path = folder / "rolls.u16"
    np.random.default_rng(0).integers(0, SIDES, count, dtype=np.uint16).astype("<u2").tofile(path)
    return path


# ---- what is trained


def configuration(args: argparse.Namespace, outputs: int, feed: str = "resident"):
    """Return the configuration of one run."""
    from bestguess.rolls.config import RollsConfig, RollsModelConfig, RollsTaskConfig

    config = RollsConfig(
        task=RollsTaskConfig(
            u16_path=str(args.u16_path),
            window=args.window,
            tokens="adaptive",
            vocab=args.vocab,
            feed="host" if feed == "host" else "resident",
            workers=args.workers,
        ),
        model=RollsModelConfig(
            layers=args.layers,
            d_model=args.d_model,
            heads=args.heads,
            d_ff=args.d_ff,
            dtype=args.dtype,
            outputs=outputs,
        ),
    )
    train = dataclasses.replace(
        config.train,
        steps=12_000,  # the schedule's length; nobody gets there
        warmup_steps=600,
        batch_size=args.batch,
        learning_rate=config.train.learning_rate[:1],
        validate_every=args.steps,
        validation_sequences=2,
        patience=0,
    )
    config = dataclasses.replace(config, train=train)
    config.check()
    if (config.model.norm, config.model.norm_place, config.model.positions) != ("rms", "pre", "rope"):
        raise ValueError("the PyTorch model knows RMSNorm before each sub-layer and RoPE only")
    return config


def untrained(config, training):
    """Return the one run's model before its first step."""
    import jax

    from bestguess.train.program import Program

    program = Program(training.problem, config.train, training.members, jax.devices()[:1])
    return jax.tree.map(lambda leaf: leaf[0], program.start().model)


def named_weights(model) -> dict:
    """Return every weight of a model by the name that the PyTorch model knows it under."""
    import numpy as np

    decoder = model.decoder
    found = {"embed": model.embedding.table, "head": model.head.weight, "norm_gain": decoder.norm.gain}
    if model.bias is not None:
        found["head_bias"] = model.bias
    for i, block in enumerate(decoder.blocks):
        found |= {f"{i}.qkv": block.attention.qkv, f"{i}.out": block.attention.out}
        found |= {f"{i}.{name}": getattr(block.feed_forward, name) for name in ("up", "gate", "down")}
        found[f"{i}.attention_norm_gain"] = block.attention_norm.gain
        found[f"{i}.feed_forward_norm_gain"] = block.feed_forward_norm.gain
    return {name: np.asarray(value, np.float32) for name, value in found.items()}


def products(weights: dict) -> int:
    """Return the number of weights in matrix products."""
    return sum(w.size for name, w in weights.items() if w.ndim == 2 and name not in ("embed", "head_bias"))


def operations(config, weights: dict) -> float:
    """Return the floating-point operations of a step; the module's docstring says what counts."""
    tokens = config.train.batch_size * config.task.window
    attention = 6.0 * config.model.layers * tokens * config.task.window * config.model.d_model
    return 6.0 * products(weights) * tokens + attention


def common_problem(config, training, model):
    """Return what the PyTorch model is given: the weights of our run, and the training part's values."""
    import numpy as np

    import torch_rolls

    train, data = config.train, training.problem.data
    return torch_rolls.Problem(
        weights=named_weights(model),
        **recipe(train),
        layers=config.model.layers,
        heads=config.model.heads,
        outputs=config.model.outputs,
        window=config.task.window,
        rope_base=config.model.rope_base,
        eps=model.decoder.norm.eps,
        values=np.asarray(data.values),
        of_value=np.asarray(data.of_value),
    )


# ---- equality


def compare(args: argparse.Namespace, config, training, found: dict[str, Any]) -> None:
    """Give both models the same weights and windows; end unless they agree in float32."""
    import jax
    import jax.numpy as jnp
    import numpy as np

    import torch_rolls
    from bestguess.rolls.problem import Drawn

    problem = training.problem
    exact = dataclasses.replace(config, model=dataclasses.replace(config.model, dtype="float32"))
    problem = dataclasses.replace(problem, config=exact)
    own = jax.tree.map(lambda leaf: leaf[0], training.members.task)
    model = problem.init(own, jax.random.key(0))
    # The head starts as zeros and gains as ones, which would hide everything before them.
    keys = iter(jax.random.split(jax.random.key(1), 200))
    model = jax.tree.map(lambda w: w + 0.05 * jax.random.normal(next(keys), w.shape), model)
    T = config.task.window
    places = np.random.default_rng(2).integers(0, len(problem.data.values) - T, 3)
    windows = jnp.stack([problem.data.values[place : place + T + 1] for place in places.tolist()])
    tokens = jnp.asarray(problem.data.of_value)[windows.astype(jnp.int32)]
    masked = jnp.tile(jnp.arange(T) % 5 == 3, (len(windows), 1))

    @jax.jit
    def ours(model):
        def mean(model):
            drawn = lambda window: Drawn(jnp.int32(0), window, jnp.bool_(False), jax.random.key(0))  # noqa: E731
            loss, count, *_ = jax.vmap(lambda window: problem.loss(model, own, drawn(window)))(windows)
            return jnp.sum(loss) / jnp.sum(count)

        return jax.vmap(model)(tokens[:, :-1], masked), jax.value_and_grad(mean)(model)

    with jax.default_matmul_precision("highest"):
        logits, (loss, gradient) = ours(model)
    expected = named_weights(gradient)
    theirs = common_problem(exact, dataclasses.replace(training, problem=problem), model)
    seen = np.where(masked, len(model.embedding.table) - 1, tokens[:, :-1])
    worst = {"logits": 0.0, "loss": 0.0, "gradient": 0.0}
    apart = lambda a, b: float(np.max(np.abs(a - b)) / np.max(np.abs(b)))  # noqa: E731
    for attention, flat in (("default", False), ("default", True), ("explicit", False)):
        got_loss, got, got_gradient = torch_rolls.loss_and_gradient(
            theirs, torch_device(args), np.array(tokens), seen, attention, flat
        )
        worst["loss"] = max(worst["loss"], abs(got_loss / float(loss) - 1))
        worst["logits"] = max(worst["logits"], apart(got, np.asarray(logits)))
        worst["gradient"] = max(worst["gradient"], *(apart(got_gradient[name], expected[name]) for name in expected))
    agree(worst, found)


# ---- the variants: each has `runs`, `turn` (steps), and `run(steps)`, which ends when the device has finished


class Ours(Stepped):
    """`bestguess` with values that are made up on the device, live there, or are fed by the host."""

    def __init__(self, args: argparse.Namespace, outputs: int, feed: str, resident: Any = None):
        """resident: the training whose values live on the device, if there is one already."""
        from bestguess.train.program import Program

        config = configuration(args, outputs, feed)
        training = resident if resident is not None and feed != "host" else our_training("rolls", config)
        problem = made_up(training.problem) if feed == "made up" else training.problem
        self.runs, self.turn, self.step = 1, args.steps, 0
        self.program = Program(problem, config.train, training.members, own_devices(args))
        self.compiled, *_ = self.program.compile(args.steps)
        self.state = self.program.start()
        self.run(args.steps)


def made_up(problem):
    """Return a problem whose windows are uniform values that its steps draw themselves."""
    import jax
    import jax.numpy as jnp

    from bestguess.rolls.problem import RollsProblem

    class MadeUp(RollsProblem):
        def draw(self, task, turn):
            shape = (self.config.task.window + 1,)
            window = jax.random.randint(turn.key, shape, 0, len(self.data.of_value)).astype(jnp.uint16)
            return super().draw(task, turn._replace(fed=window))

    data = dataclasses.replace(problem.data, values=None)
    return MadeUp(data, problem.config, problem.shape, problem.windows, problem.last, None)


def makers(args: argparse.Namespace, config, training) -> dict[str, Any]:
    """Return, by name, what makes each variant."""
    torch_forms: dict[str, dict[str, Any]]
    if args.device == "gpu":
        graph = {"compile": "default", "graph": True}
        torch_forms = {
            "eager": {},
            "eager, autocast": {},
            "compile": {"compile": "default"},
            "compile, autocast": {"compile": "default"},
            "compile, reduce-overhead": {"compile": "reduce-overhead"},
            "compile, max-autotune-no-cudagraphs": {"compile": "max-autotune-no-cudagraphs"},
            "compile, step in a CUDA graph": graph,
            "compile, step in a CUDA graph, autocast": graph,
            "compile, step in a CUDA graph, flat": graph | {"flat": True},
            "compile, step in a CUDA graph, flat, cuDNN": graph | {"flat": True, "attention": "cudnn"},
        }
    else:
        torch_forms = {
            f"eager, {threads} thread{'s' * (threads > 1)}, {told}": {"threads": threads, "attention": attention}
            for threads in sorted({1, len(os.sched_getaffinity(0))})
            for attention, told in (("default", "SDPA"), ("explicit", "products"))
        }
    problem: list = []

    def theirs(name, form):
        import torch_filters
        import torch_rolls

        if not problem:
            problem.append(common_problem(config, training, untrained(config, training)))
        loss = torch_rolls.AutocastLoss if "autocast" in name else torch_rolls.Loss
        trainer = torch_filters.Trainer(problem[0], torch_filters.Form(**form), torch_device(args), args.dtype, loss)
        trainer.runs, trainer.turn = 1, args.steps
        return trainer

    made = {f"PyTorch {name}": lambda name=name, form=form: theirs(name, form) for name, form in torch_forms.items()}
    for told, feed in FEEDS.items():
        made[f"bestguess, {told}"] = lambda feed=feed: Ours(args, config.model.outputs, feed, training)
    return chosen(made, args)


# ---- timing


def training(args: argparse.Namespace, outputs: int, found: dict[str, Any], keep: Any) -> dict[str, Any]:
    """Time the variants in turns, and return them."""
    config = configuration(args, outputs)
    resident = our_training("rolls", config)
    made = makers(args, config, resident)
    need_torch(made)
    if importlib.util.find_spec("torch"):
        compare(args, config, resident, found)
    use_tensor_cores(args)
    weights = named_weights(untrained(config, resident))
    found["weights"] = {"all": sum(w.size for w in weights.values()), "in_products": products(weights)}
    found["operations_per_step"] = operations(config, weights)
    found["training"] = {}
    live = take_turns(made, args.rounds, found["training"], keep)
    summarise(args, config, found)
    return live


def summarise(args: argparse.Namespace, config, found: dict[str, Any]) -> None:
    """Work out medians, ratios and rates, and print the table."""
    figures = found["training"]
    timed = compare_rates(figures, None)
    on_peak = (
        args.device == "gpu" and args.dtype == "bfloat16" and any(chip in device_name() for chip in ("H100", "H200"))
    )
    for f in timed.values():
        f["values_per_second"] = f["steps_per_second"] * args.batch * args.window
        f["tflops"] = f["steps_per_second"] * found["operations_per_step"] / 1e12
        if on_peak:
            f["mfu"] = f["tflops"] / PEAK
    best = next((f["rival"] for f in timed.values() if "rival" in f), None)
    found["best_pytorch"] = best
    print(
        f"\n{args.batch} × {args.window}, {args.layers} layers, {args.d_model} wide, SwiGLU {config.model.hidden_dim}, "
        f"{args.heads} heads, vocabulary {args.vocab}, {config.model.outputs} outputs, {args.dtype}: "
        f"{found['weights']['all']:,} weights, {found['operations_per_step'] / 1e9:.4g} GFLOP a step; "
        f"{args.rounds} rounds of {args.steps} steps; best PyTorch: {best}"
    )
    rows: list[tuple] = [
        ("", "steps/s", "min–max", "ratio to best PyTorch", "min–max", "values/s", "TFLOP/s", "MFU", "set-up s", "loss")
    ]
    for name, f in figures.items():
        if name not in timed:
            rows.append((name, "failed", *[""] * 8))
            continue
        ratio = (f"{f['ratio']:.2f}", "{:.2f}–{:.2f}".format(*f["ratio_range"])) if best else ("", "")
        rates = f"{min(f['rates']):.2f}–{max(f['rates']):.2f}"
        mfu = f"{f['mfu']:.1%}" if "mfu" in f else ""
        speed = (f"{f['values_per_second']:,.0f}", f"{f['tflops']:.4g}", mfu)
        told = (f"{f['setup_seconds']:.1f}", f"{f['last_loss']:.3f}")
        rows.append((name, f"{f['steps_per_second']:.2f}", rates, *ratio, *speed, *told))
    print_table(rows)
    print_unsound(timed)


if __name__ == "__main__":
    main()
