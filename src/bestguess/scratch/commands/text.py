"""Natural text, for which no floor is known: the standard library's source, or a file of the reader's own."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from bestguess import files
from bestguess.command import UserError
from bestguess.scratch.commands.checks import not_negative, positive, prompt_tokens, ways_to_draw, writable
from bestguess.scratch.commands.live import LossPlot
from bestguess.scratch.demos import checkpoint, stdlib
from bestguess.scratch.demos.decoder import Decoder
from bestguess.scratch.demos.generate import generate
from bestguess.scratch.flags import StdlibFlags


def run_stdlib(flags: StdlibFlags, console: Console) -> dict[str, Any]:
    """Train on the standard library's source, or on a file; return bits per character and baselines'."""
    began = time.perf_counter()
    positive("--steps", flags.steps)
    not_negative("--seed", flags.seed)
    ways_to_draw(flags.temperature, flags.top_k, flags.top_p)
    if flags.save is not None:
        writable("--save", flags.save, "npz")
    text = _text(flags)
    config = stdlib.config(text.vocabulary)
    prompt = flags.prompt
    if prompt is None:
        prompt = "def " if flags.corpus is None else text.vocabulary.decode(text.held_out[:20].tolist())
    tokens = prompt_tokens(prompt, text.vocabulary, config.positions)
    model = Decoder(config, flags.seed)
    baselines = stdlib.baselines(text.train, text.held_out, len(text.vocabulary))
    table = Table("Is a loss normal? On the held-out text", "bits per character", box=None)
    table.add_row("every character alike", f"{np.log2(len(text.vocabulary.characters)):.3f}")
    for name, value in baselines.items():
        table.add_row(name, f"{value:.3f}")
    console.print(table)
    console.print("No floor is known for natural text: these are baselines, not a ceiling.")
    console.print(
        f"{model.count():,} parameters; {len(text.train):,} characters to train on, {len(text.held_out):,} held out, "
        f"{len(text.vocabulary.characters)} different ones."
    )
    with LossPlot(console, "loss", flags.steps) as plot:
        stdlib.train(model, text.train, flags.steps, flags.seed, 3e-3, plot)
    bits, deviation = stdlib.bits(model, text.held_out)
    beaten = [name for name, value in baselines.items() if bits < value]
    console.print(
        f"This GPT after {flags.steps:,} steps: {bits:.3f} ± {deviation:.3f} bits per character; better than "
        f"{', '.join(beaten) if beaten else 'none of the baselines'}."
    )
    rng = np.random.default_rng(flags.seed)
    how: dict[str, Any] = {"temperature": flags.temperature, "top_k": flags.top_k, "top_p": flags.top_p}
    room = config.positions + 1 - len(tokens)
    written = text.vocabulary.decode(generate(model, tokens, room, rng=rng, **how))
    console.print(prompt + written, markup=False)
    if flags.save is not None:
        checkpoint.save(flags.save, model, f"bestguess scratch stdlib, {flags.steps:,} steps, seed {flags.seed}")
        console.print(f"Weights written to {flags.save}", markup=False)
    return {
        "bits_per_character": bits,
        "standard_error": deviation,
        "baselines": baselines,
        "parameters": model.count(),
        "train_characters": len(text.train),
        "held_out_characters": len(text.held_out),
        "prompt": prompt,
        "completion": written,
        "steps": flags.steps,
        "seconds": time.perf_counter() - began,
    }


def _text(flags: StdlibFlags) -> stdlib.Text:
    try:
        if flags.corpus is None:
            return stdlib.of_this_python()
        return stdlib.of(files.read_text(flags.corpus, stdlib.LARGEST))
    except ValueError as error:
        raise UserError(
            f"{'scratch stdlib' if flags.corpus is None else f'--corpus {flags.corpus}'}: {error}"
        ) from None
