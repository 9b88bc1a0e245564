"""Time the text family: training by architecture at paired sizes; generation with and without the cache; beam search.

    uv run python benchmarks/text.py --device gpu --out gpu.json
    uv run python benchmarks/text.py --device cpu --out cpu.json

Documents are random tokens, every source and every target of full length. Variants take turns (A B C A B C ...), so
that whatever else the machine does falls on all of them. A figure is given as the best and the median of its rounds; a
ratio is the median of the ratios within each round.

Training: steps/s of an encoder-decoder of L + L layers, and of decoder-only models and prefix LMs of the same width
whose layers give the matrices equal parameters (7L/3), equal FLOPs (7L/6) or equal depth (L), each rounded to a whole
number of layers. All score the target alone; one decoder-only model is also trained on every token (full loss).

Generation: tokens/s of untrained models of equal parameters that write --generated tokens for 1 document and for
--documents at once; the end of a text is never chosen. Without the cache, a model reads the source and the target so
far anew for each token, the target in an array of its final width, as shapes are fixed. Greedy tokens with and without
the cache are compared; products are in float32. Beam search keeps --beams sequences for each document.

FLOPs are XLA's count of a document's loss and gradient, before compilation. --dtype is the floating-point type of
training.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from typing import Any

from arguments import flags, parsed, sizing
from side_by_side import (
    Stepped,
    begin,
    compare_rates,
    own_devices,
    print_table,
    save,
    take_turns,
)

ARCHITECTURES = ("encoder-decoder", "decoder-only", "prefix-lm")
SIZES = {
    "gpu": {"batch": 64, "source": 256, "target": 256, "d_model": 512, "layers": 6, "heads": 8, "vocab": 8192},
    "cpu": {"batch": 16, "source": 128, "target": 128, "d_model": 64, "layers": 3, "heads": 4, "vocab": 1024},
    "tiny": {"batch": 2, "source": 6, "target": 5, "d_model": 8, "layers": 1, "heads": 2, "vocab": 32},
}


def arguments() -> argparse.Namespace:
    """Return the command line's choices."""
    parser = flags(__doc__, "steps of a turn in training; 100 on a gpu, 10 on a cpu", "of the blocks; ")
    told = {
        "batch": "documents in a batch",
        "source": "tokens of a source",
        "target": "tokens of a target in training",
        "d_model": "width",
        "layers": "layers of the encoder, and of the decoder",
        "heads": "attention heads",
        "vocab": "tokens of the vocabulary",
    }
    sizing(parser, told, SIZES)
    parser.add_argument("--generated", type=int, help="tokens that are generated for a document; 256, or 5 with --tiny")
    parser.add_argument("--documents", type=int, default=16, help="documents that are generated for at once")
    parser.add_argument("--beams", type=int, default=4, help="beams of beam search")
    args = parsed(parser, (2, 100, 10), SIZES)
    args.generated = args.generated or (5 if args.tiny else 256)
    return args


def main() -> None:
    """Run what the command line asks for, print it, write it."""
    args = arguments()
    if args.device == "cpu":
        os.environ["JAX_PLATFORMS"] = "cpu"

    from bestguess.train.cores import use_cores

    if args.device == "cpu":
        use_cores(args.batch * (args.source + args.target) * args.d_model**2)  # as `bestguess text train` does
    result: dict[str, Any] = {
        **begin(args),
        "settings": {k: v for k, v in vars(args).items() if k != "out"},
        "training": {},
        "generation": {},
    }
    started = time.perf_counter()
    keep = lambda: save(args, result)  # noqa: E731
    training(args, result["training"], keep)
    keep()
    for documents in sorted({1, args.documents}):
        found = result["generation"][str(documents)] = {}
        generation(args, documents, found, keep)
        keep()
    print(f"({time.perf_counter() - started:.0f} s in all)", flush=True)


# ---- what is trained, and what generates


def sizes(args: argparse.Namespace, architecture: str, pairing: str) -> Any:
    """Return the config of a model that is paired with the encoder-decoder."""
    from bestguess.text.counting import paired
    from bestguess.text.model_config import TextModelConfig

    layers = args.layers if architecture == "encoder-decoder" else paired(args.layers, pairing).layers
    return TextModelConfig(architecture=architecture, layers=layers, d_model=args.d_model, heads=args.heads)


def random_pairs(args: argparse.Namespace, count: int, seed: int) -> Any:
    """Return documents of random tokens, all of full length."""
    import numpy as np

    from bestguess.text.pairs import make_pairs
    from bestguess.text.tokens import EOS, UNK

    dice = np.random.default_rng(seed)
    words = lambda tokens: dice.integers(UNK + 1, args.vocab, (count, tokens))  # noqa: E731
    ended = np.concatenate([words(args.target - 1), np.full((count, 1), EOS)], axis=1)
    return make_pairs(words(args.source).tolist(), ended.tolist())


class Trained(Stepped):
    """A training of one architecture."""

    def __init__(self, args: argparse.Namespace, architecture: str, pairing: str, loss: str):
        import dataclasses

        import jax.numpy as jnp

        from bestguess.text.config import TextConfig, TextObjectiveConfig
        from bestguess.text.costs import document_flops
        from bestguess.text.documents import Documents
        from bestguess.text.model import parameters
        from bestguess.text.problem import Own, TextProblem
        from bestguess.train.problem import Member
        from bestguess.train.program import Program

        model = dataclasses.replace(sizes(args, architecture, pairing), dtype=args.dtype)
        train = dataclasses.replace(
            TextConfig().train, batch_size=args.batch, validate_every=args.steps, validation_sequences=2
        )
        config = TextConfig(model=model, objective=TextObjectiveConfig(loss=loss), train=train)
        config.check()
        training, validation = (
            Documents.of(random_pairs(args, count, seed), args.vocab) for count, seed in ((64 * args.batch, 0), (2, 1))
        )
        problem = TextProblem(training, validation, config, args.vocab)
        members = Member(Own(jnp.zeros(1, jnp.int32)), jnp.full(1, 1e-3), jnp.zeros(1, jnp.int32))
        self.runs, self.turn, self.step = 1, args.steps, 0
        self.about = {
            "layers": model.layers,
            "parameters": parameters(model, args.vocab, (args.source, args.target)).total,
            "flops_per_document": document_flops(config, args.vocab, args.source, args.target),
        }
        self.program = Program(problem, train, members, own_devices(args))
        self.state = self.program.start()
        self.run(args.steps)


def generator(args: argparse.Namespace, architecture: str, documents: int, cached: bool) -> tuple[Any, Any]:
    """Return start and step of an untrained model that never ends a text, with its cache or without."""
    import equinox as eqx
    import jax
    import jax.numpy as jnp

    from bestguess.text.model import TextModel
    from bestguess.text.tokens import EOS, PAD

    endless = lambda logits: logits.at[..., EOS].set(-jnp.inf)  # noqa: E731

    class Cached(eqx.Module):
        model: TextModel
        source: Any
        length: Any

        def start(self):
            logits, cache = self.model.start_batch(self.source, self.length, args.generated)
            return endless(logits), cache

        def step(self, token, cache):
            logits, cache = self.model.step_batch(token, cache)
            return endless(logits), cache

    class Uncached(Cached):
        def start(self):
            target = jnp.full((documents, args.generated), PAD, jnp.int32)
            return self.read(target, jnp.zeros(documents, jnp.int32)), (target, jnp.zeros(documents, jnp.int32))

        def step(self, token, cache):
            target, count = cache
            target = target.at[:, count[0]].set(token.astype(target.dtype))
            return self.read(target, count + 1), (target, count + 1)

        def read(self, target, count):
            logits = jax.vmap(self.model.logits)(self.source, self.length, target)
            return endless(logits[:, count[0]])

    model = TextModel(
        sizes(args, architecture, "parameters"), args.vocab, (args.source, args.generated), key=jax.random.key(0)
    )
    pairs = random_pairs(args, documents, 2)
    one = (Cached if cached else Uncached)(model, jnp.asarray(pairs.source), jnp.asarray(pairs.source_length))
    return one.start, one.step


class Generating:
    """Generation for documents; a turn is a whole generation, and its rate is in tokens/s."""

    def __init__(self, args: argparse.Namespace, architecture: str, documents: int, cached: bool, beams: int = 0):
        import jax
        import numpy as np

        from bestguess.text.generation import GenerationConfig

        config = GenerationConfig(max_tokens=args.generated)
        if beams:
            config = GenerationConfig(strategy="beam", beams=beams, max_tokens=args.generated)
        self.start, self.step = generator(args, architecture, documents, cached)
        self.config, self.numbers, self.device = config, np.arange(documents), jax.devices()[0]
        self.runs, self.turn = 1, documents * args.generated
        self.run(self.turn)

    def run(self, tokens: int) -> float:
        """Generate, and return the mean log-probability of a token (nats)."""
        import jax
        import numpy as np

        from bestguess.text.decode import generate

        with jax.default_device(self.device), jax.default_matmul_precision("highest"):
            found = jax.block_until_ready(generate(self.start, self.step, self.config, self.numbers))
        self.tokens = np.asarray(found.tokens)
        if int(found.length.sum()) != tokens:
            raise AssertionError(f"{int(found.length.sum())} tokens in place of {tokens}")
        return float(found.log_probability.sum()) / tokens


# ---- timing


def training(args: argparse.Namespace, found: dict[str, Any], keep: Any) -> None:
    """Time the trainings in turns, and print them beside the encoder-decoder."""
    first = f"encoder-decoder, {args.layers} + {args.layers} layers"
    makers = {first: lambda: Trained(args, "encoder-decoder", "parameters", "target")}
    for architecture in ARCHITECTURES[1:]:
        for pairing in ("parameters", "flops", "depth"):
            makers[f"{architecture}, equal {pairing}"] = lambda architecture=architecture, pairing=pairing: Trained(
                args, architecture, pairing, "target"
            )
    makers["decoder-only, equal parameters, full loss"] = lambda: Trained(args, "decoder-only", "parameters", "full")
    live = take_turns(makers, args.rounds, found, keep)
    timed = compare_rates(found, first)
    for name, one in live.items():
        timed[name] |= one.about
    print(
        f"\n{args.batch} documents of {args.source} + {args.target} tokens, {args.d_model} wide, {args.heads} heads, "
        f"vocabulary {args.vocab:,}, {args.dtype}; {args.rounds} rounds of {args.steps} steps"
    )
    heads = ("", "layers", "parameters", "GFLOP", "steps/s, best", "median", "ratio", "min–max", "set-up s")
    rows: list[tuple] = [heads]
    for name, f in found.items():
        about = (f"{f.get('layers')}", f"{f.get('parameters', 0):,}", f"{f.get('flops_per_document', 0) / 1e9:.3g}")
        rows.append((name, *_cells(f, *about, digits=2)))
    print_table(rows)


def generation(args: argparse.Namespace, documents: int, found: dict[str, Any], keep: Any) -> None:
    """Time generation in turns, compare the tokens with and without the cache, and print it."""
    makers = {}
    for name in ARCHITECTURES:
        makers[f"{name}, cached"] = lambda name=name: Generating(args, name, documents, True)
        makers[f"{name}, uncached"] = lambda name=name: Generating(args, name, documents, False)
        makers[f"{name}, {args.beams} beams"] = lambda name=name: Generating(args, name, documents, True, args.beams)
    figures = found["tokens_per_second"] = {}
    live = take_turns(makers, args.rounds, figures, keep)
    for f in figures.values():
        f["mean_log_probability"] = f.pop("last_loss", None)
    found["cached_over_uncached"], found["beam_over_greedy"], found["equal_tokens"] = {}, {}, {}
    for name in ARCHITECTURES:
        cached, uncached, beam = (f"{name}, {one}" for one in ("cached", "uncached", f"{args.beams} beams"))
        if {cached, uncached, beam} <= live.keys():
            found["equal_tokens"][name] = float((live[cached].tokens == live[uncached].tokens).mean())
            found["cached_over_uncached"][name] = _ratio(figures[cached], figures[uncached])
            found["beam_over_greedy"][name] = _ratio(figures[beam], figures[cached])
    print(f"\n{documents} × {args.generated} tokens, source of {args.source}, float32; {args.rounds} rounds")
    rows: list[tuple] = [("", "tokens/s, best", "median", "set-up s")]
    for name, f in figures.items():
        if "error" in f:
            rows.append((name, "failed", "", ""))
        else:
            best, median = max(f["rates"]), statistics.median(f["rates"])
            rows.append((name, f"{best:,.1f}", f"{median:,.1f}", f"{f['setup_seconds']:.1f}"))
    print_table(rows)
    for name in found["equal_tokens"]:
        print(
            f"{name}: {found['cached_over_uncached'][name]:.1f} times as fast with the cache, "
            f"{found['equal_tokens'][name]:.2%} of the tokens equal; beam search at "
            f"{found['beam_over_greedy'][name]:.2f} of greedy's rate",
            flush=True,
        )


def _ratio(one: dict[str, Any], other: dict[str, Any]) -> float:
    return statistics.median(a / b for a, b in zip(one["rates"], other["rates"], strict=True))


def _cells(f: dict[str, Any], *about: str, digits: int) -> tuple[str, ...]:
    if "error" in f:
        return (*about, "failed", "", "", "", "")
    ratio = (f"{f['ratio']:.2f}", "{:.2f}–{:.2f}".format(*f["ratio_range"])) if "ratio" in f else ("", "")
    best, median = max(f["rates"]), f["steps_per_second"]
    return (*about, f"{best:.{digits}f}", f"{median:.{digits}f}", *ratio, f"{f['setup_seconds']:.1f}")


if __name__ == "__main__":
    main()
