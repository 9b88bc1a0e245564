"""Time the filters family's training against PyTorch: same model, batch, data, optimiser, one process.

    uv run --group bench python benchmarks/filters.py --device gpu --dtype bfloat16 --out gpu.json
    uv run --group bench python benchmarks/filters.py --device cpu --out cpu.json

Variants take turns (A B C A B C ...), so that whatever else the machine does falls on all of them. A figure is the
median over the rounds; a ratio is the median of the ratios within each round, to the PyTorch variant whose median
is highest. Every variant draws its batches inside the step (z Lᵀ, float32), clips, and updates with AdamW. Chunks
of `bestguess` end in a validation of 2 sequences, the fewest possible, against chunks of 100 steps of 64: it is in
the time. A variant that fails is reported in a line, and the others go on.

GPU: the default configuration (64 × 256, 4 layers, 256 wide). PyTorch runs eagerly; under torch.compile; under its
mode reduce-overhead (CUDA graphs of the model); and with the whole compiled step, optimiser included, in one CUDA
graph, with flash attention and with cuDNN's, with parameters apart and the blocks' matrices in one flat tensor; the
three that are not wholly in a graph take a quarter of the steps a turn, as they would take most of the time. CPU: the
small preset, with a device to each core as its command trains, against eager PyTorch with 1 thread and with as many as
there are cores, with scaled_dot_product_attention and with the products written out. Before, both models are given
the same weights and sequences and must agree in float32 to 1e-4 of the largest value.

Floating-point operations of a step: 6 · P · B · T for P weights in matrices (a multiplication and an addition,
forwards once and backwards twice), and 6 · layers · B · T² · D for attention (q kᵀ and the weighted sum of v, under
a causal mask half of each, forwards once and backwards twice; the backward pass's recomputation is not counted).
Norms, the optimiser and the draw are not counted.

`--rollout` adds rollouts: 64 observed steps, then 64 predicted ones that are fed back. `--profile DIR` adds what
XLA says of the compiled chunk of all runs and, of one such chunk, the kernels that took longest; the trace stays
in DIR.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib.util
import os
import statistics
import time
from typing import Any

from arguments import choosing, chosen, flags, parsed, profiling, use_tensor_cores
from side_by_side import (
    Stepped,
    agree,
    begin,
    compare_rates,
    error_line,
    memory_of,
    need_torch,
    one_device,
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

TARGETS = {"bestguess, 1 run": 1.15, "bestguess, 16 runs": 1.45}
ROLLOUT_TARGET = 5.0


def arguments() -> argparse.Namespace:
    """Return the command line's choices."""
    parser = flags(__doc__, "steps of a variant's turn; 100 on a gpu, 50 on a cpu", "of the blocks; ")
    parser.add_argument("--runs", type=int, help="runs trained together; 16 on a gpu, 4 on a cpu")
    choosing(parser)
    parser.add_argument(
        "--autotune", action="store_true", help="a variant under max-autotune too: minutes of compilation"
    )
    parser.add_argument("--no-training", action="store_true", help="only what --rollout and --profile ask for")
    parser.add_argument("--rollout", action="store_true", help="time rollouts too")
    parser.add_argument("--rollouts", type=int, default=8192, help="rollouts in parallel")
    profiling(parser)
    args = parsed(parser, (5, 100, 50))
    args.runs = args.runs or ((3 if args.tiny else 16) if args.device == "gpu" else 4)
    if args.tiny:
        args.rollouts = min(args.rollouts, 8)
    return args


def main() -> None:
    """Run what the command line asks for, print it, write it."""
    args = arguments()
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # PyTorch needs memory on the same device
    os.environ.setdefault("XLA_PYTHON_CLIENT_MEM_FRACTION", "0.9")
    if args.device == "cpu":
        os.environ["JAX_PLATFORMS"] = "cpu"

    from bestguess.train.cores import use_cores

    if args.device == "cpu":
        use_cores()  # as `bestguess filters train` does

    result: dict[str, Any] = {
        **begin(args),
        "xla_flags": os.environ.get("XLA_FLAGS", ""),
        "settings": {k: v for k, v in vars(args).items() if k not in ("out", "profile")},
    }
    parts = []
    if not args.no_training:
        parts.append(training)
    if args.rollout:
        parts.append(rollouts)
    if args.profile:
        parts.append(profile_all)
    for part in parts:
        started = time.perf_counter()
        part(args, result)
        print(f"({part.__name__}: {time.perf_counter() - started:.0f} s in all)\n", flush=True)
        save(args, result)


# ---- what is trained


def configuration(args: argparse.Namespace, runs: int):
    """Return the configuration of `runs` runs: the default or the small preset, or toy sizes."""
    from bestguess.filters.config import PRESETS, FiltersConfig, FilterTaskConfig, RolloutConfig

    config: FiltersConfig = PRESETS[("default" if args.device == "gpu" else "small",)]
    if args.tiny:
        config = dataclasses.replace(
            config,
            task=FilterTaskConfig(latent_dim=8, length=32),
            model=dataclasses.replace(config.model, layers=2, d_model=32, heads=2),
            train=dataclasses.replace(config.train, batch_size=4),
            rollout=RolloutConfig(context=8, horizons=(8,)),
        )
    train = dataclasses.replace(
        config.train,
        steps=12_000,  # the schedule's length; nobody gets there
        learning_rate=config.train.learning_rate[:1],
        seeds=runs,
        optimizer="adamw",  # the one that PyTorch is given
        validate_every=args.steps,
        validation_sequences=2,
    )
    config = dataclasses.replace(config, train=train, model=dataclasses.replace(config.model, dtype=args.dtype))
    config.check()
    model = config.model
    if (model.patch, model.normalisation, model.activation) != (1, "input", "gelu"):
        raise ValueError("the PyTorch model knows patches of one step, input normalisation and GELU only")
    return config


def operations(config) -> float:
    """Return the floating-point operations of one step of one run; the module's docstring says what counts."""
    model, task = config.model, config.task
    d = model.d_model
    weights = model.layers * (4 * d * d + 2 * d * model.hidden_dim) + 2 * d * task.observed_dim
    attention = 6 * model.layers * config.train.batch_size * task.length**2 * d
    return 6.0 * weights * config.train.batch_size * task.length + attention


def named_weights(forecaster) -> dict:
    """Return every weight of a forecaster by the name that the PyTorch model knows it under."""
    import numpy as np

    core = forecaster.core
    found = {"embed": core.embed, "bias": core.bias, "head": core.head, "norm": core.decoder.norm.gain}
    for i, block in enumerate(core.decoder.blocks):
        found[f"{i}.attention_norm"] = block.attention_norm.gain
        found[f"{i}.qkv"] = block.attention.qkv
        found[f"{i}.out"] = block.attention.out
        found[f"{i}.feed_forward_norm"] = block.feed_forward_norm.gain
        found[f"{i}.up"] = block.feed_forward.up
        found[f"{i}.down"] = block.feed_forward.down
    return {name: np.asarray(value, np.float32) for name, value in found.items()}


def common_problem(config, forecaster, task):
    """Return what the PyTorch model is given: the weights and the task of one run of ours."""
    import numpy as np

    import torch_filters

    train = config.train
    return torch_filters.Problem(
        layers=config.model.layers,
        heads=config.model.heads,
        rope_base=config.model.rope_base,
        eps=forecaster.core.decoder.norm.eps,
        weights=named_weights(forecaster),
        factor=np.asarray(task.factor),
        scale=np.asarray(task.scale),
        floor=float(task.floor),
        **recipe(train),
    )


# ---- equality


def compare(args: argparse.Namespace, result: dict[str, Any]) -> None:
    """Give both models the same weights and sequences; end unless their forecasts agree in float32."""
    import equinox as eqx
    import jax
    import jax.numpy as jnp
    import numpy as np

    import torch_filters
    from bestguess.filters.forecaster import make_forecaster

    config = configuration(args, 1)
    task = jax.tree.map(jnp.asarray, our_training("filters", config).tasks[0])
    exact = dataclasses.replace(config.model, dtype="float32")
    forecaster = make_forecaster(exact, jnp.asarray(task.scale), key=jax.random.key(0))
    # The head starts as zeros and gains as ones, which would hide everything before them.
    keys = iter(jax.random.split(jax.random.key(1), 100))
    forecaster = jax.tree.map(lambda w: w + 0.05 * jax.random.normal(next(keys), w.shape), forecaster)
    forecaster = eqx.tree_at(lambda f: f.normaliser.scale, forecaster, jnp.asarray(task.scale))
    y = jax.vmap(task.sample)(jax.random.split(jax.random.key(2), 4))

    @eqx.filter_jit
    def ours(forecaster):
        def mean_square(forecaster):
            forecast, _ = jax.vmap(forecaster)(y)
            return jnp.mean(forecast**2), forecast

        (_, forecast), gradient = jax.value_and_grad(mean_square, has_aux=True)(forecaster)
        return forecast, gradient

    with jax.default_matmul_precision("highest"):
        forecast, gradient = ours(forecaster)
    expected, expected_gradient = np.asarray(forecast), named_weights(gradient)
    problem = common_problem(config, forecaster, task)
    worst = {"forecast": 0.0, "gradient": 0.0}
    apart = lambda a, b: float(np.max(np.abs(a - b)) / np.max(np.abs(b)))  # noqa: E731
    for attention, flat in (("default", False), ("default", True), ("explicit", False)):
        got, got_gradient = torch_filters.forecast_and_gradient(
            problem, torch_device(args), "float32", np.array(y), attention, flat
        )
        worst["forecast"] = max(worst["forecast"], apart(got, expected))
        worst["gradient"] = max(
            worst["gradient"],
            *(apart(got_gradient[name], expected_gradient[name]) for name in expected_gradient),
        )
    agree(worst, result)


# ---- the variants: each has `runs`, `turn` (steps), and `run(steps)`, which ends when the device has finished


class Ours(Stepped):
    """`bestguess` with some runs in one program."""

    def __init__(self, args: argparse.Namespace, runs: int):
        from bestguess.train.program import Program

        config = configuration(args, runs)
        training = our_training("filters", config)
        self.runs, self.turn, self.step = runs, args.steps, 0
        self.program = Program(training.problem, config.train, training.members, own_devices(args))
        (self.compiled,) = self.program.compile(args.steps)
        self.state = self.program.start()
        self.run(args.steps)


_KEPT: list[Ours] = []
"""The variant of all runs, once made: `profile` need not compile it again."""


def makers(args: argparse.Namespace) -> dict[str, Any]:
    """Return, by name, what makes each variant."""
    torch_forms: dict[str, dict[str, Any]]
    if args.device == "gpu":
        graph = {"compile": "default", "graph": True}
        torch_forms = {
            "eager": {},
            "compile": {"compile": "default"},
            "compile, reduce-overhead": {"compile": "reduce-overhead"},
            "compile, step in a CUDA graph": graph | {"attention": "flash"},
            "compile, step in a CUDA graph, flat": graph | {"attention": "flash", "flat": True},
            "compile, step in a CUDA graph, flat, cuDNN": graph | {"attention": "cudnn", "flat": True},
        }
        if args.autotune:
            torch_forms["max-autotune, step in a CUDA graph, flat"] = graph | {
                "compile": "max-autotune-no-cudagraphs",
                "attention": "flash",
                "flat": True,
            }
    else:
        torch_forms = {
            f"eager, {threads} thread{'s' * (threads > 1)}, {told}": {
                "threads": threads,
                "attention": attention,
            }
            for threads in sorted({1, len(os.sched_getaffinity(0))})
            for attention, told in (("default", "SDPA"), ("explicit", "products"))
        }

    problem: list = []

    def theirs(form):
        import torch_filters

        if not problem:
            import jax

            from bestguess.train.program import Program

            config = configuration(args, 1)
            training = our_training("filters", config)
            program = Program(training.problem, config.train, training.members, one_device())
            first = lambda tree: jax.tree.map(lambda leaf: leaf[0], tree)  # noqa: E731
            problem.append(common_problem(config, first(program.start().model), first(program.members.task)))
        trainer = torch_filters.Trainer(problem[0], torch_filters.Form(**form), torch_device(args), args.dtype)
        trainer.runs, trainer.turn = 1, args.steps
        if args.device == "gpu" and not form.get("graph"):
            trainer.turn = max(1, args.steps // 4)  # the slow ones would take most of the time
        return trainer

    made = {f"PyTorch {name}": lambda form=form: theirs(form) for name, form in torch_forms.items()}
    for runs in sorted({1, args.runs}):
        made[f"bestguess, {runs} run{'s' * (runs > 1)}"] = lambda runs=runs: Ours(args, runs)
    return chosen(made, args)


# ---- timing


def training(args: argparse.Namespace, result: dict[str, Any]) -> None:
    """Time the variants in turns."""
    made = makers(args)
    need_torch(made)
    if importlib.util.find_spec("torch"):
        compare(args, result)
    use_tensor_cores(args)
    result["training"] = {}
    live = take_turns(made, args.rounds, result["training"], lambda: save(args, result))
    summarise(args, result)
    ours = [variant for variant in live.values() if isinstance(variant, Ours) and variant.runs == args.runs]
    _KEPT.extend(ours)


def summarise(args: argparse.Namespace, result: dict[str, Any]) -> None:
    """Work out medians and ratios, and print the table."""
    figures = result["training"]
    timed = compare_rates(figures, None)
    flops = operations(configuration(args, 1))
    result["operations_per_step"] = flops
    for f in timed.values():
        f["tflops"] = f["steps_per_second"] * flops / 1e12
    best = next((f["rival"] for f in timed.values() if "rival" in f), None)
    result["best_pytorch"] = best
    shape = configuration(args, 1)
    print(
        f"\n{shape.train.batch_size} × {shape.task.length}, {shape.model.layers} layers, {shape.model.d_model} wide, "
        f"{args.dtype}: {flops / 1e9:.4g} GFLOP a step; {args.rounds} rounds of {args.steps} steps; "
        f"best PyTorch: {best}"
    )
    heads = ("", "run-steps/s", "min–max", "ratio to best PyTorch", "min–max", "TFLOP/s", "set-up s", "loss")
    rows = [heads]
    for name, f in figures.items():
        if name not in timed:
            rows.append((name, "failed", *[""] * 6))
            continue
        ratio = (f"{f['ratio']:.2f}", "{:.2f}–{:.2f}".format(*f["ratio_range"])) if best else ("", "")
        rates = f"{min(f['rates']):.1f}–{max(f['rates']):.1f}"
        told = (f"{f['tflops']:.4g}", f"{f['setup_seconds']:.1f}", f"{f['last_loss']:.3f}")
        rows.append((name, f"{f['steps_per_second']:.1f}", rates, *ratio, *told))
    print_table(rows)
    print_unsound(timed)
    if best is not None and args.device == "gpu" and not args.tiny:
        for name, target in TARGETS.items():
            if name in timed:
                reached = "reached" if timed[name]["ratio"] >= target else "missed"
                print(f"{name}: {timed[name]['ratio']:.2f}×, target {target}×: {reached}")


def rollouts(args: argparse.Namespace, result: dict[str, Any]) -> None:
    """Time rollouts of an untrained forecaster: what it predicts does not matter to the clock."""
    try:
        import jax
        import jax.numpy as jnp

        from bestguess.filters.forecaster import make_forecaster, rollout

        config = configuration(args, 1)
        context, horizon = config.rollout.context, max(config.rollout.horizons)
        task = jax.tree.map(jnp.asarray, our_training("filters", config).tasks[0])
        forecaster = make_forecaster(config.model, jnp.asarray(task.scale), key=jax.random.key(0))
        keys = jax.random.split(jax.random.key(1), args.rollouts)
        seen = jax.jit(lambda keys: jax.vmap(task.sample)(keys)[:, :context])(keys)
        program = jax.jit(lambda f, y: jax.vmap(lambda each: rollout(f, each, horizon))(y))
        started = time.perf_counter()
        compiled = program.lower(forecaster, seen).compile()
        compile_seconds = time.perf_counter() - started
        jax.block_until_ready(compiled(forecaster, seen))
        seconds = []
        for _ in range(5):
            started = time.perf_counter()
            jax.block_until_ready(compiled(forecaster, seen))
            seconds.append(time.perf_counter() - started)
        figure = {
            "rollouts": args.rollouts,
            "context": context,
            "horizon": horizon,
            "seconds": statistics.median(seconds),
            "seconds_all": seconds,
            "compile_seconds": compile_seconds,
            "memory": memory_of(compiled),
        }
        print(
            f"{args.rollouts:,} rollouts, {context} + {horizon} steps, {args.dtype}: {figure['seconds']:.3f} s "
            f"({min(seconds):.3f}–{max(seconds):.3f}, 5 times) after {compile_seconds:.1f} s of compilation; "
            f"{figure['memory'].get('temp_size_in_bytes', 0) / 2**30:.2f} GiB of temporary memory"
        )
        if args.device == "gpu" and not args.tiny:
            print(f"target {ROLLOUT_TARGET} s: {'reached' if figure['seconds'] < ROLLOUT_TARGET else 'missed'}")
    except Exception as error:
        figure = {"error": error_line(error)}
        print(f"rollouts: FAILED: {error_line(error)}", flush=True)
    result["rollout"] = figure


# ---- what the compiled chunk does


def profile_all(args: argparse.Namespace, result: dict[str, Any]) -> None:
    """Report what XLA made of one chunk of all runs."""
    result["profile"] = profile(lambda: _KEPT[0] if _KEPT else Ours(args, args.runs), args.profile)


if __name__ == "__main__":
    main()
