"""Time the integers family's training against PyTorch: same model, batch, data, optimiser, one process.

    uv run --group bench python benchmarks/integers.py --device gpu --out gpu.json
    uv run --group bench python benchmarks/integers.py --device cpu --out cpu.json

Variants take turns (A B C A B C ...), so that whatever else the machine does falls on all of them. A figure is the
median over the rounds; a ratio is the median of the ratios within each round. Every variant draws its rows inside
the step, by Walker's alias method from a table on the device, clips, and updates with AdamW. Chunks of `bestguess`
end in a validation of 2 sequences, the fewest possible: it is in the time.

The model is the original design's, docs/decisions.md (2 layers, 2 heads, FFN 32, batch 32, post-norm, GELU, the pair
of number and position, weighted loss), at a width of 64 with its features lifted, or at its own 2 (`--width 2`). On a
GPU, PyTorch runs eagerly; under torch.compile; under its mode reduce-overhead (CUDA graphs of the model); and with
the whole compiled step, optimiser included, captured in one CUDA graph, parameters apart and the blocks' matrices flat.
The first three take a fraction of the steps a turn, as they would take most of the time. On a CPU, eager PyTorch with
1 thread and with as many as there are cores, with scaled_dot_product_attention and with the products written out;
`bestguess` as its command trains, with a device to each core. Before, both models are given the same weights and rows
and must agree in float32 to 1e-4 of the largest value.

Ratios are to the best PyTorch, and to reduce-overhead (GPU) or the best eager PyTorch (CPU). `--profile DIR` adds
what XLA says of the compiled chunk of most runs and, of one such chunk, the kernels that took longest; the trace
stays in DIR.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib.util
import os
import time
from typing import Any

from arguments import choosing, chosen, flags, parsed, profiling, use_tensor_cores
from side_by_side import (
    Stepped,
    agree,
    begin,
    compare_rates,
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

REDUCE_OVERHEAD = "PyTorch compile, reduce-overhead"


def arguments() -> argparse.Namespace:
    """Return the command line's choices."""
    parser = flags(__doc__, "steps of a variant's turn; 1000 on a gpu, 200 on a cpu")
    parser.add_argument("--runs", type=int, nargs="+", help="runs trained together; 1 16 256 on a gpu, 1 on a cpu")
    parser.add_argument("--width", type=int, default=64, help="width of the model; 2 is the document's own, unlifted")
    parser.add_argument("--unpacked", action="store_true", help="ours once more, with its weights not in flat arrays")
    choosing(parser)
    profiling(parser)
    args = parsed(parser, (5, 1000, 200))
    args.runs = args.runs or ([1, 16, 256] if args.device == "gpu" and not args.tiny else [1])
    return args


def main() -> None:
    """Run what the command line asks for, print it, write it."""
    args = arguments()
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # PyTorch needs memory on the same device
    if args.device == "cpu":
        os.environ["JAX_PLATFORMS"] = "cpu"

    from bestguess.family import load_family
    from bestguess.train.cores import product_of, use_cores

    if args.device == "cpu":
        config = configuration(args, 1)
        product = product_of(config, load_family("integers").works.tokens(config))
        use_cores(product, max(args.runs))  # as `bestguess integers train` does

    result: dict[str, Any] = {
        **begin(args),
        "xla_flags": os.environ.get("XLA_FLAGS", ""),
        "settings": {k: v for k, v in vars(args).items() if k not in ("out", "profile")},
    }
    started = time.perf_counter()
    training(args, result)
    if args.profile:
        result["profile"] = profile(lambda: _KEPT.get(max(args.runs)) or Ours(args, max(args.runs)), args.profile)
    save(args, result)
    print(f"({time.perf_counter() - started:.0f} s in all)", flush=True)


# ---- what is trained


def configuration(args: argparse.Namespace, runs: int):
    """Return the configuration of `runs` runs."""
    from bestguess.integers.config import IntegersConfig, document

    config: IntegersConfig = document()
    config = dataclasses.replace(
        config,
        task=dataclasses.replace(config.task, curriculum="none"),
        model=dataclasses.replace(config.model, d_model=args.width, lift=args.width != 2),
        train=dataclasses.replace(
            config.train, seeds=runs, validate_every=args.steps, validation_sequences=2, patience=0
        ),
    )
    config.check()
    return config


def named_weights(model) -> dict:
    """Return every weight of a model by the name that the PyTorch model knows it under."""
    import numpy as np

    decoder = model.decoder
    found = {"head": model.head.weight, "head_bias": model.head.bias}
    if model.embedding.lift is not None:
        found["lift"] = model.embedding.lift
    for i, block in enumerate(decoder.blocks):
        found |= {f"{i}.qkv": block.attention.qkv, f"{i}.out": block.attention.out}
        found |= {f"{i}.up": block.feed_forward.up, f"{i}.down": block.feed_forward.down}
        for name in ("attention_norm", "feed_forward_norm"):
            norm = getattr(block, name)
            found |= {f"{i}.{name}_gain": norm.gain, f"{i}.{name}_bias": norm.bias}
    return {name: np.asarray(value, np.float32) for name, value in found.items()}


def common_problem(config, model, sampler):
    """Return what the PyTorch model is given: the weights of one run of ours, and the table."""
    import numpy as np

    import torch_integers
    from bestguess.integers.model.embeddings import features

    train = config.train
    return torch_integers.Problem(
        layers=config.model.layers,
        heads=config.model.heads,
        eps=model.decoder.blocks[0].attention_norm.eps,
        weights=named_weights(model),
        features=features(config.model.embedding),
        rows=np.array(sampler.rows),
        threshold=np.array(sampler.threshold),
        alias=np.array(sampler.alias),
        alpha=config.objective.alpha[0],
        **recipe(train),
    )


# ---- equality


def compare(args: argparse.Namespace, result: dict[str, Any]) -> None:
    """Give both models the same weights and rows; end unless they agree in float32."""
    import jax
    import jax.numpy as jnp
    import numpy as np

    import torch_integers
    from bestguess.integers.model.transformer import IntegerModel
    from bestguess.integers.problem import Drawn, Setting, make_problem

    config = configuration(args, 1)
    problem = make_problem(config)
    setting = Setting(jnp.asarray(config.objective.alpha[0], jnp.float32))
    model = IntegerModel(config.model, config.task.length, key=jax.random.key(0))
    # The head starts as zeros and gains as ones, which would hide everything before them.
    keys = iter(jax.random.split(jax.random.key(1), 100))
    model = jax.tree.map(lambda w: w + 0.05 * jax.random.normal(next(keys), w.shape), model)
    place = jax.random.randint(jax.random.key(2), (16,), 0, len(problem.sampler.rows))

    @jax.jit
    def ours(model):
        def mean(model):
            loss, count = jax.vmap(lambda one: problem.loss(model, setting, Drawn(one, None, None)))(place)
            return jnp.sum(loss) / jnp.sum(count)

        rows = problem.sampler.rows[place].astype(jnp.int32)
        return jax.vmap(lambda terms: model(terms)[0])(rows[:, :-1]), jax.value_and_grad(mean)(model)

    with jax.default_matmul_precision("highest"):
        logits, (loss, gradient) = ours(model)
    expected = named_weights(gradient)
    theirs = common_problem(config, model, problem.sampler)
    worst = {"logits": 0.0, "loss": 0.0, "gradient": 0.0}
    apart = lambda a, b: float(np.max(np.abs(a - b)) / np.max(np.abs(b)))  # noqa: E731
    for attention, flat in (("default", False), ("default", True), ("explicit", False)):
        got_loss, got, got_gradient = torch_integers.loss_and_gradient(
            theirs, torch_device(args), np.array(place), attention, flat
        )
        worst["loss"] = max(worst["loss"], abs(got_loss / float(loss) - 1))
        worst["logits"] = max(worst["logits"], apart(got, np.asarray(logits)))
        worst["gradient"] = max(worst["gradient"], *(apart(got_gradient[name], expected[name]) for name in expected))
    if config.model.d_model <= 2 and config.model.norm == "layer":
        # LayerNorm over two features is a sign: its derivative is 0 but where it is infinite, and rounding decides.
        del worst["gradient"]
    agree(worst, result)


# ---- the variants


class Ours(Stepped):
    """`bestguess` with some runs in one program."""

    def __init__(self, args: argparse.Namespace, runs: int, packed: bool = True):
        from bestguess.integers.problem import IntegerProblem
        from bestguess.train.program import Program

        class Unpacked(IntegerProblem):
            packed = False

        config = configuration(args, runs)
        self.runs, self.turn, self.step = runs, args.steps, 0
        training = our_training("integers", config)
        problem = training.problem
        if not packed:
            problem = Unpacked(problem.sampler, problem.validation, problem.config)
        self.program = Program(problem, config.train, training.members, own_devices(args))
        (self.compiled,) = self.program.compile(args.steps)
        self.state = self.program.start()
        self.run(args.steps)
        if packed:
            _KEPT[runs] = self


_KEPT: dict[int, Ours] = {}
"""The variants once made: `profile` need not compile them again."""


def makers(args: argparse.Namespace) -> dict[str, Any]:
    """Return, by name, what makes each variant."""
    torch_forms: dict[str, dict[str, Any]]
    if args.device == "gpu":
        graph = {"compile": "default", "graph": True}
        torch_forms = {
            "eager": {},
            "compile": {"compile": "default"},
            "compile, reduce-overhead": {"compile": "reduce-overhead"},
            "compile, step in a CUDA graph": graph,
            "compile, step in a CUDA graph, flat": graph | {"flat": True},
            "compile, step in a CUDA graph, flat, products": graph | {"flat": True, "attention": "explicit"},
        }
    else:
        torch_forms = {
            f"eager, {threads} thread{'s' * (threads > 1)}, {told}": {"threads": threads, "attention": attention}
            for threads in sorted({1, len(os.sched_getaffinity(0))})
            for attention, told in (("default", "SDPA"), ("explicit", "products"))
        }
    problem: list = []

    def theirs(form):
        import torch_filters
        import torch_integers

        if not problem:
            import jax

            from bestguess.integers.model.transformer import IntegerModel
            from bestguess.integers.problem import make_problem

            config = configuration(args, 1)
            model = IntegerModel(config.model, config.task.length, key=jax.random.key(0))
            problem.append(common_problem(config, model, make_problem(config).sampler))
        form = torch_filters.Form(**form)
        trainer = torch_filters.Trainer(problem[0], form, torch_device(args), "float32", torch_integers.Loss)
        trainer.runs, trainer.turn = 1, args.steps
        if args.device == "gpu" and not form.graph:
            trainer.turn = max(1, args.steps // 8)  # they would take most of the time
        return trainer

    made = {f"PyTorch {name}": lambda form=form: theirs(form) for name, form in torch_forms.items()}
    for runs in sorted(set(args.runs)):
        name = f"bestguess, {runs} run{'s' * (runs > 1)}"
        made[name] = lambda runs=runs: Ours(args, runs)
        if args.unpacked:
            made[f"{name}, unpacked"] = lambda runs=runs: Ours(args, runs, packed=False)
    return chosen(made, args)


# ---- timing


def training(args: argparse.Namespace, result: dict[str, Any]) -> None:
    """Time the variants in turns."""
    made = makers(args)
    need_torch(made)
    if importlib.util.find_spec("torch"):
        compare(args, result)
    use_tensor_cores(args)
    figures: dict[str, Any] = {}
    result["training"] = figures
    take_turns(made, args.rounds, figures, lambda: save(args, result))
    timed = compare_rates(figures, None)
    best = next((f["rival"] for f in timed.values() if "rival" in f), None)
    result["best_pytorch"] = best
    to_best = {name: (f["ratio"], f["ratio_range"]) for name, f in timed.items() if "ratio" in f}
    if REDUCE_OVERHEAD in timed:
        compare_rates(figures, REDUCE_OVERHEAD)
        result["rival"] = REDUCE_OVERHEAD
    config = configuration(args, 1)
    print(
        f"\n{config.train.batch_size} × {config.task.length}, {config.model.layers} layers, {args.width} wide, "
        f"float32; {args.rounds} rounds of {args.steps} steps; best PyTorch: {best}"
    )
    rows: list[tuple] = [("", "run-steps/s", "min–max", "to best PyTorch", "to reduce-overhead", "set-up s", "loss")]
    for name, f in figures.items():
        if name not in timed:
            rows.append((name, "failed", *[""] * 5))
            continue
        told = [""] * 2
        if name in to_best:
            ratio, (low, high) = to_best[name]
            f["ratio_to_best"], f["ratio_to_best_range"] = ratio, [low, high]
            told[0] = f"{ratio:.2f} ({low:.2f}–{high:.2f})"
        if f.get("rival") == REDUCE_OVERHEAD:
            told[1] = f"{f['ratio']:.2f} ({f['ratio_range'][0]:.2f}–{f['ratio_range'][1]:.2f})"
        rates = f"{min(f['rates']):,.0f}–{max(f['rates']):,.0f}"
        rows.append(
            (name, f"{f['steps_per_second']:,.0f}", rates, *told, f"{f['setup_seconds']:.1f}", f"{f['last_loss']:.3f}")
        )
    print_table(rows)
    print_unsound(timed)


if __name__ == "__main__":
    main()
