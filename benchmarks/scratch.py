"""Time the NumPy engine's GPT against eager PyTorch on this CPU, and each layer fast against simple.

    uv run --group bench python benchmarks/scratch.py --out cpu.json
    uv run --group bench python benchmarks/scratch.py --torch-python /path/to/python-with-torch

A step is forward, backward and AdamW in float32, on the same batch, from the same weights. Every figure comes from
processes of its own: in a first round each variant runs once (PyTorch and the engine with 1, 2, ... threads, PyTorch
with its scaled_dot_product_attention and with the products written out, with its AdamW as it comes in eager mode and
with its single-kernel AdamW, `fused=True`); then the two fastest of each take turns (A B C D ...) for `--rounds`
rounds, so that whatever else the machine does falls on all. A figure is the median over the rounds; a ratio the median
of the ratios within each round, the engine's fastest to PyTorch's fastest.

Before, the two must agree: every operation's and layer's gradients, and those of the whole GPT, in float64.

`--torch-python` names the interpreter that has PyTorch, where it is another than this one; it needs NumPy beside it.
"""

from __future__ import annotations

import argparse
import datetime
import itertools
import json
import os
import platform
import resource
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np

SOURCE = Path(__file__).resolve().parents[1] / "src"
sys.path.insert(0, str(SOURCE))  # the engine needs NumPy alone, so PyTorch's interpreter can run it too

from bestguess.scratch.check import KERNELS  # noqa: E402
from bestguess.scratch.commands.record import cores, cpu  # noqa: E402
from bestguess.scratch.demos import decoder  # noqa: E402
from bestguess.scratch.demos.data import PAD  # noqa: E402
from bestguess.scratch.engine import optim as simple_optim  # noqa: E402
from bestguess.scratch.engine.gpt import GPT, GPTConfig  # noqa: E402
from bestguess.scratch.engine.tensor import Tensor, concatenate, where  # noqa: E402
from bestguess.scratch.fast import layers as fast  # noqa: E402
from bestguess.scratch.fast.gpt import FastGPT  # noqa: E402
from bestguess.scratch.fast.optim import AdamW  # noqa: E402

SIZES: dict[str, tuple[GPTConfig, int, int]] = {
    "33,472 parameters, 32 × 64": (GPTConfig(vocab=61, d_model=32, layers=2, heads=8, positions=128), 32, 64),
    "4,624 parameters, 12 × 8": (GPTConfig(vocab=37, d_model=16, layers=1, heads=2, positions=8), 12, 8),
}
"""Name: model, sequences, tokens of each."""
SECONDS = 2.0
"""That a process spends on timed steps."""
TARGETS = dict(zip(SIZES, (0.9, 3.0)))
LR, BETAS, DECAY = 1e-3, (0.9, 0.99), 0.01


def batch(config: GPTConfig, B: int, T: int) -> tuple[np.ndarray, np.ndarray]:
    """Return inputs and targets (B, T); a third of the rows end in padding, which is not scored."""
    rng = np.random.default_rng(0)
    inputs, targets = rng.integers(1, config.vocab, (2, B, T))
    targets[::3, T * 3 // 4 :] = PAD
    return inputs, targets


# ------------------------------------------------------------------------------ what a worker process does


def engine_steps(size: str, kernels: str) -> float:
    """Return the engine's steps per second."""
    config, B, T = SIZES[size]
    model = KERNELS[kernels][1](config, 0)
    optimizer: Any
    if kernels == "fast":
        optimizer = AdamW(model.parameters(), LR, BETAS, weight_decay=DECAY)
    else:
        optimizer = simple_optim.AdamW(model.parameters(), LR, weight_decay=DECAY)
    inputs, targets = batch(config, B, T)

    def step() -> None:
        optimizer.zero_grad()
        model.loss(inputs, targets, PAD).backward()
        optimizer.step()

    return timed(step)


def torch_steps(size: str, attention: str, adamw: str, threads: int) -> float:
    """Return PyTorch's steps per second."""
    import torch

    torch.set_num_threads(threads)
    config, B, T = SIZES[size]
    model = torch_gpt(FastGPT(config, 0), attention)
    optimizer = torch.optim.AdamW(model.parameters(), LR, BETAS, weight_decay=DECAY, fused=adamw == "fused")
    inputs, targets = map(torch.from_numpy, batch(config, B, T))

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        model.loss(inputs, targets).backward()
        optimizer.step()

    return timed(step)


def timed(step: Any) -> float:
    """Return how many steps a second are made, over `SECONDS`, after a tenth of it that is not counted."""
    until = time.perf_counter() + SECONDS / 10
    while time.perf_counter() < until:
        step()
    steps, began = 0, time.perf_counter()
    while (passed := time.perf_counter() - began) < SECONDS or not steps:
        step()
        steps += 1
    return steps / passed


def torch_gpt(ours: GPT, attention: str) -> Any:
    """Return the same GPT as a torch module, with the same weights under the same names."""
    import torch
    from torch import nn
    from torch.nn import functional as F

    c = ours.config

    class Linear(nn.Module):
        def __init__(self, inputs: int, outputs: int, bias: bool = True):
            super().__init__()
            self.weight = nn.Parameter(torch.empty(inputs, outputs))
            self.bias = nn.Parameter(torch.empty(outputs)) if bias else None

        def forward(self, x: Any) -> Any:
            return F.linear(x, self.weight.T, self.bias)

    class Norm(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gain, self.bias = nn.Parameter(torch.empty(c.d_model)), nn.Parameter(torch.empty(c.d_model))

        def forward(self, x: Any) -> Any:
            return F.layer_norm(x, (c.d_model,), self.gain, self.bias)

    class Attention(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.qkv, self.out = Linear(c.d_model, 3 * c.d_model), Linear(c.d_model, c.d_model)

        def forward(self, x: Any) -> Any:
            B, T, D = x.shape
            q, k, v = self.qkv(x).view(B, T, 3, c.heads, D // c.heads).permute(2, 0, 3, 1, 4)
            if attention == "sdpa":
                read = F.scaled_dot_product_attention(q, k, v, is_causal=True)
            else:
                scores = q @ k.transpose(-1, -2) * (D // c.heads) ** -0.5
                hidden = torch.ones(T, T, dtype=torch.bool).triu(1)
                read = scores.masked_fill(hidden, float("-inf")).softmax(-1) @ v
            return self.out(read.transpose(1, 2).reshape(B, T, D))

    class FeedForward(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.up, self.down = Linear(c.d_model, 4 * c.d_model), Linear(4 * c.d_model, c.d_model)

        def forward(self, x: Any) -> Any:
            return self.down(F.gelu(self.up(x), approximate="tanh"))

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attention_norm, self.attention = Norm(), Attention()
            self.feed_forward_norm, self.feed_forward = Norm(), FeedForward()

        def forward(self, x: Any) -> Any:
            x = x + self.attention(self.attention_norm(x))
            return x + self.feed_forward(self.feed_forward_norm(x))

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.token_embedding = nn.Parameter(torch.empty(c.vocab, c.d_model))
            self.position_embedding = nn.Parameter(torch.empty(c.positions, c.d_model))
            self.blocks = nn.ModuleList(Block() for _ in range(c.layers))
            self.norm, self.head = Norm(), Linear(c.d_model, c.vocab, bias=False)

        def forward(self, index: Any) -> Any:
            x = F.embedding(index, self.token_embedding) + self.position_embedding[: index.shape[1]]
            for block in self.blocks:
                x = block(x)
            return self.head(self.norm(x))

        def loss(self, index: Any, targets: Any) -> Any:
            return F.cross_entropy(self(index).flatten(0, 1), targets.flatten(), ignore_index=PAD)

    state = {name: torch.from_numpy(p.data.copy()) for name, p in ours.named_parameters()}
    model = Model().to(next(iter(state.values())).dtype)
    model.load_state_dict(state)
    return model


def agreement() -> dict[str, float]:
    """Return the largest relative error of gradients against PyTorch's in float64: operations, layers, a GPT."""
    import torch
    from torch.nn import functional as F

    found: dict[str, float] = {}
    targets = torch.tensor([[1, 2, 3], [4, 1, PAD]])
    rng = np.random.default_rng(1)

    def compare(name: str, ours: Any, theirs: Any, *arrays: np.ndarray) -> None:
        tensors = [Tensor(a, requires_grad=True) for a in arrays]
        others = [torch.from_numpy(a.copy()).requires_grad_() for a in arrays]
        y, z = ours(*tensors), theirs(*others)
        weights = rng.normal(size=y.shape)
        y.backward(weights)
        z.backward(torch.from_numpy(weights))
        errors = [np.abs(y.data - z.detach().numpy()).max() / np.abs(y.data).max()]
        errors += [np.abs(t.grad - o.grad.numpy()).max() / np.abs(t.grad).max() for t, o in zip(tensors, others)]
        found[name] = float(max(errors))

    def n(*shape: int) -> np.ndarray:
        return rng.normal(size=shape)

    index = np.array([[1, 2, 1], [4, 0, 3]])
    table, mask = torch.from_numpy(index), index > 1
    for name, ours, theirs, arrays in (
        ("add", lambda a, b: a + b, torch.add, [n(2, 3), n(3)]),
        ("subtract", lambda a, b: a - b, torch.sub, [n(2, 1), n(3)]),
        ("multiply", lambda a, b: a * b, torch.mul, [n(2, 3), n(2, 1)]),
        ("divide", lambda a, b: a / b, torch.div, [n(2, 3), 1 + n(3) ** 2]),
        ("power", lambda a: a**3, lambda a: a**3, [n(2, 3)]),
        ("abs", abs, torch.abs, [n(2, 3)]),
        ("exp", lambda a: a.exp(), torch.exp, [n(2, 3)]),
        ("log", lambda a: a.log(), torch.log, [1 + n(2, 3) ** 2]),
        ("sqrt", lambda a: a.sqrt(), torch.sqrt, [1 + n(2, 3) ** 2]),
        ("tanh", lambda a: a.tanh(), torch.tanh, [n(2, 3)]),
        ("relu", lambda a: a.relu(), torch.relu, [n(2, 3)]),
        ("softmax", lambda a: a.softmax(1), lambda a: a.softmax(1), [n(2, 3)]),
        ("sum", lambda a: a.sum(1), lambda a: a.sum(1), [n(2, 3)]),
        ("mean", lambda a: a.mean(0), lambda a: a.mean(0), [n(2, 3)]),
        ("max", lambda a: a.max(1), lambda a: a.amax(1), [n(2, 3)]),
        ("matmul", lambda a, b: a @ b, torch.matmul, [n(5, 2, 3), n(3, 7)]),
        ("reshape", lambda a: a.reshape(3, 2), lambda a: a.reshape(3, 2), [n(2, 3)]),
        ("transpose", lambda a: a.transpose(2, 0, 1), lambda a: a.permute(2, 0, 1), [n(2, 3, 5)]),
        ("index", lambda a: a[1:5:2, 0], lambda a: a[1:5:2, 0], [n(7, 3)]),
        ("concatenate", lambda a, b: concatenate([a, b], 1), lambda a, b: torch.cat([a, b], 1), [n(2, 3), n(2, 5)]),
        ("where", lambda a, b: where(mask, a, b), lambda a, b: torch.where(table > 1, a, b), [n(2, 3), n(3)]),
        ("RMS norm", decoder.rms_norm, lambda x, g: F.rms_norm(x, (7,), g, 1e-6), [n(2, 3, 7), n(7)]),
        (
            "feed-forward (fast)",
            fast.feed_forward,
            lambda x, u, b, v, c, s: s + F.linear(F.gelu(F.linear(x, u.T, b), approximate="tanh"), v.T, c),
            [n(2, 3, 5), n(5, 7), n(7), n(7, 5), n(5), n(2, 3, 5)],
        ),
    ):  # fmt: skip
        compare(name, ours, theirs, *arrays)
    for kernels, (m, kind) in KERNELS.items():

        def attend(x: Any) -> Any:
            q, k, v = x.view(2, 5, 3, 3, 2).permute(2, 0, 3, 1, 4)
            return F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).reshape(2, 5, 6)

        for name, ours, theirs, arrays in (
            ("linear", m.linear, lambda x, w, b: F.linear(x, w.T, b), [n(2, 3, 5), n(5, 7), n(7)]),
            ("layer norm", m.layer_norm, lambda x, g, b: F.layer_norm(x, (7,), g, b), [n(2, 3, 7), n(7), n(7)]),
            ("embedding", lambda t, m=m: m.embedding(t, index), lambda t: F.embedding(table, t), [n(5, 3)]),
            ("GELU", m.gelu, lambda x: F.gelu(x, approximate="tanh"), [2 * n(3, 5)]),
            ("attention", lambda x, m=m: m.causal_attention(x, 3), attend, [n(2, 5, 18)]),
            (
                "cross-entropy",
                lambda z, m=m: m.cross_entropy(z, targets.numpy(), PAD),
                lambda z: F.cross_entropy(z.flatten(0, 1), targets.flatten(), ignore_index=PAD),
                [n(2, 3, 5)],
            ),
        ):
            compare(f"{name} ({kernels})", ours, theirs, *arrays)
        config = SIZES["33,472 parameters, 32 × 64"][0]
        ours_gpt: GPT = kind(config, 0)
        for p in ours_gpt.parameters():
            p.data = p.data.astype(np.float64)
        theirs_gpt = torch_gpt(ours_gpt, "written out")
        inputs, wanted = batch(config, 5, 17)
        ours_gpt.loss(inputs, wanted, PAD).backward()
        theirs_gpt.loss(torch.from_numpy(inputs), torch.from_numpy(wanted)).backward()
        gradients = dict(theirs_gpt.named_parameters())
        found[f"whole GPT ({kernels})"] = max(
            float(np.abs(p.grad - gradients[name].grad.numpy()).max() / np.abs(gradients[name].grad.numpy()).max())
            for name, p in ours_gpt.named_parameters()
            if p.grad is not None
        )
    return found


def simple_feed_forward(x: Tensor, up: Tensor, b: Tensor, down: Tensor, c: Tensor, onto: Tensor) -> Tensor:
    """Return the feed-forward layer made of the engine's layers."""
    m = KERNELS["simple"][0]
    return onto + m.linear(m.gelu(m.linear(x, up, b)), down, c)


def per_operation() -> dict[str, dict[str, dict[str, float]]]:
    """Return, for each layer at the larger size, milliseconds and allocations of forward + backward, both kernels.

    `MB` is the memory that a call allocates beyond what it held before, at its peak; `faults` are the page faults of a
    call.
    """
    config, B, T = SIZES["33,472 parameters, 32 × 64"]
    d, rng = config.d_model, np.random.default_rng(0)
    inputs, targets = batch(config, B, T)

    def leaf(*shape: int) -> Tensor:
        return Tensor(rng.normal(size=shape).astype(np.float32), requires_grad=True)

    x, wide = leaf(B, T, d), leaf(B, T, 4 * d)
    cases = {
        "linear, 32 to 96": ("linear", (x, leaf(d, 3 * d), leaf(3 * d))),
        "layer norm": ("layer_norm", (x, leaf(d), leaf(d))),
        "GELU, 128 wide": ("gelu", (wide,)),
        "feed-forward": ("feed_forward", (x, leaf(d, 4 * d), leaf(4 * d), leaf(4 * d, d), leaf(d), leaf(B, T, d))),
        "attention, 8 heads": ("causal_attention", (leaf(B, T, 3 * d), config.heads)),
        "cross-entropy": ("cross_entropy", (leaf(B, T, config.vocab), targets, PAD)),
        "embedding": ("embedding", (leaf(config.vocab, d), inputs)),
    }
    out: dict[str, dict[str, dict[str, float]]] = {}
    for name, (function, arguments) in cases.items():
        out[name] = {}
        for kernels in ("simple", "fast"):
            f = getattr(KERNELS[kernels][0], function, None)
            if f is None:
                f = simple_feed_forward
            leaves = [a for a in arguments if isinstance(a, Tensor)]

            def call(f: Any = f, arguments: Any = arguments, leaves: Any = leaves) -> None:
                y = f(*arguments)
                y.backward(np.ones_like(y.data))
                for t in leaves:
                    t.grad = None

            for _ in range(5):
                call()
            each = []
            faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
            for _ in range(40):
                began = time.perf_counter()
                call()
                each.append(time.perf_counter() - began)
            faults = (resource.getrusage(resource.RUSAGE_SELF).ru_minflt - faults) / 40
            tracemalloc.start()
            call()
            held = tracemalloc.get_traced_memory()[0]
            tracemalloc.reset_peak()
            call()
            peak = tracemalloc.get_traced_memory()[1] - held
            tracemalloc.stop()
            out[name][kernels] = {"ms": 1e3 * statistics.median(each), "MB": peak / 1e6, "faults": faults}
    return out


# -------------------------------------------------------------------------------------------- the command


def main() -> None:
    """Run what the command line asks for, print it, write it."""
    parser = argparse.ArgumentParser(
        description=__doc__.partition("\n")[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--torch-python", default=sys.executable, help="interpreter that has PyTorch")
    parser.add_argument("--rounds", type=int, default=5, help="processes that each figure is the median of")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2, 4], help="thread counts to try")
    parser.add_argument("--sizes", default="", help="only sizes whose name holds this, such as 4,624")
    parser.add_argument("--out", type=Path, help="JSON file for all figures")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        print(json.dumps(work(json.loads(args.worker))))
        return
    result: dict[str, Any] = {
        "command": shlex.join(["python", "benchmarks/scratch.py", *sys.argv[1:]]),
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "cpu": cpu(),
        "cores": cores(),
        "load_before": os.getloadavg(),
        "versions": f"NumPy {np.__version__}, Python {platform.python_version()}",
    }
    result["torch"] = in_a_process(args.torch_python, {"what": "version"}, 1)
    print(f"{result['cpu']}; {result['cores']} cores; {result['versions']}, PyTorch {result['torch']}")
    result["agreement"] = in_a_process(args.torch_python, {"what": "agreement"}, 1)
    worst = max(result["agreement"], key=result["agreement"].__getitem__)
    print(
        f"{len(result['agreement'])} gradients agree with PyTorch's in float64: largest relative error "
        f"{result['agreement'][worst]:.1e} ({worst})"
    )
    if result["agreement"][worst] > 1e-9:
        sys.exit("the two do not compute the same; no timing would mean anything")
    result["sizes"] = {size: race(size, args) for size in SIZES if args.sizes in size}
    print("\nforward + backward of a layer, 32 × 64 tokens   simple                fast")
    print("                                 ms     MB  faults     ms     MB  faults")
    result["operations"] = in_a_process(sys.executable, {"what": "operations"}, 1)
    for name, both in result["operations"].items():
        cells = "".join(f"{v['ms']:10.2f}{v['MB']:7.2f}{v['faults']:8.0f}" for v in both.values())
        print(f"  {name:<24}{cells}")
    result["load_after"] = os.getloadavg()
    if args.out:
        args.out.write_text(json.dumps(result, indent=1) + "\n")


def race(size: str, args: argparse.Namespace) -> dict[str, Any]:
    """Return steps per second of every variant of one size, and the engine's ratio to PyTorch."""
    variants: dict[str, tuple[str, dict[str, Any], int]] = {}
    for threads in args.threads:
        for kernels in ("fast", "simple"):
            job = {"what": "engine", "size": size, "kernels": kernels}
            variants[f"engine, {kernels}, {threads} threads"] = (sys.executable, job, threads)
        for attention, adamw in itertools.product(("sdpa", "written out"), ("eager", "fused")):
            job = {"what": "torch", "size": size, "attention": attention, "adamw": adamw, "threads": threads}
            variants[f"PyTorch, {adamw} AdamW, {attention}, {threads} threads"] = (args.torch_python, job, threads)
    first = {name: in_a_process(*variant) for name, variant in variants.items()}
    kinds = ("engine", "PyTorch, eager AdamW", "PyTorch, fused AdamW")
    best = [
        name for kind in kinds for name in sorted((n for n in first if n.startswith(kind)), key=first.__getitem__)[-2:]
    ]
    rounds = [{name: in_a_process(*variants[name]) for name in best} for _ in range(args.rounds)]
    medians = {name: statistics.median(r[name] for r in rounds) for name in best}
    engine, eager, fused = (max((n for n in best if n.startswith(kind)), key=medians.__getitem__) for kind in kinds)
    print(f"\n{size}: steps/s, median of {args.rounds} processes (in brackets: the first round alone)")
    for name in sorted(first, key=lambda n: -medians.get(n, first[n])):
        print(f"  {name:<44} " + (f"{medians[name]:9,.1f}" if name in medians else f"({first[name]:9,.1f})"))
    ratios = {}
    for theirs in (eager, fused):
        each = [r[engine] / r[theirs] for r in rounds]
        ratios[theirs] = statistics.median(each)
        print(f"  {ratios[theirs]:.2f} ({min(each):.2f} to {max(each):.2f}) times as fast as {theirs}")
    reached = "reached" if ratios[eager] >= TARGETS[size] else "NOT reached"
    print(f"  target against PyTorch eager, {TARGETS[size]}: {reached}")
    return {"first_round": first, "rounds": rounds, "medians": medians, "ratios": ratios, "target": TARGETS[size]}


def in_a_process(python: str, job: dict[str, Any], threads: int) -> Any:
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    granted = dict.fromkeys(names, str(threads))
    if job["what"] == "engine":  # as its commands do: the threads are the engine's own, and BLAS has one in each
        granted["OPENBLAS_NUM_THREADS"] = "1"
    with tempfile.TemporaryDirectory() as elsewhere:  # so that nothing there is imported by mistake
        done = subprocess.run(
            [python, str(Path(__file__).resolve()), "--worker", json.dumps(job)],
            cwd=elsewhere,
            capture_output=True,
            text=True,
            env=os.environ | granted,
        )
    if done.returncode:
        sys.exit(f"{python}: {done.stderr.strip().splitlines()[-1]} (--torch-python names another interpreter)")
    return json.loads(done.stdout.splitlines()[-1])


def work(job: dict[str, Any]) -> Any:
    """Do one worker's job; its result goes to standard output as JSON."""
    match job["what"]:
        case "engine":
            return engine_steps(job["size"], job["kernels"])
        case "torch":
            return torch_steps(job["size"], job["attention"], job["adamw"], job["threads"])
        case "agreement":
            return agreement()
        case "operations":
            return per_operation()
    import torch

    return torch.__version__


if __name__ == "__main__":
    main()
