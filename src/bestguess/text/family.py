"""The declaration of the text family. Imports nothing heavy."""

from __future__ import annotations

from bestguess.command import Command
from bestguess.family import Family

_FLAGS, _COMMANDS = "bestguess.text.flags:", "bestguess.text.commands:"

FAMILY = Family(
    name="text",
    title="Encoder-decoder and decoder-only models of text, with a corpus whose oracle is known:",
    about="""Train a transformer to write a document's target from its source: a summary, or the rest of a text.

    Without flags, an encoder-decoder learns Errands: generated dialogues with summaries, of which the best possible
    prediction of every token is known. --corpus names another: a file, a folder, a name on the hub. Weights and
    learning rates are chosen on validation documents, figures are of the test documents.
    """,
    config="bestguess.text.config:TextConfig",
    workings="bestguess.text.workings:TextWorkings",
    reported="nats_per_document",
    progress="loss_per_document",
    validation="validation_loss",
    figures=(
        *("nats_per_token", "bits_per_token", "bits_per_byte", "perplexity", "top1", "standard_error", "documents"),
        *("tokens", "skill", "regret_per_document", "regret_error", "floor_per_document", "ceiling_per_document"),
        *("constant_nats_per_token", "parameters", "parameters_without_vocabulary", "flops_per_document"),
        *("processed_per_document", "utilisation", "seconds_per_document", "tokens_per_second"),
        *("peak_bytes", "state_bytes", "working_bytes", "facts.*", "generated.*", "kinds.*", "source.*", "start.*"),
    ),
    bases="bestguess.text.config:BASES",
    choosers={
        "preset": "Size of the corpus and of the model: for two CPU cores, or for a GPU; or one long text by "
        "characters, which --corpus names, in nanoGPT's two sizes."
    },
    changed="bestguess.sweep.changes:changed",
    experiments="bestguess.text.experiments:EXPERIMENTS",
    commands={
        "text train": Command(
            "train on Errands or on a corpus of your own, and compare what is written with the source",
            _FLAGS + "train_flags",
            _COMMANDS + "train",
            given_family=True,
        ),
        "text evaluate": Command(
            "measure a trained model on the test documents, after a self-test",
            _FLAGS + "EvaluateFlags",
            _COMMANDS + "evaluate",
        ),
        "text generate": Command(
            "write the target of a document, or of a text of your own", _FLAGS + "GenerateFlags", _COMMANDS + "generate"
        ),
        "text convert": Command(
            "make a decoder-only run an encoder-decoder, to fine-tune it",
            _FLAGS + "ConvertFlags",
            "bestguess.text.convert:convert_command",
        ),
        "text make": Command(
            "write the Errands corpus as JSON lines, with its floors",
            _FLAGS + "MakeFlags",
            _COMMANDS + "make",
        ),
        "text sheet": Command(
            "write a blind sheet on which people compare what two runs write",
            _FLAGS + "SheetFlags",
            _COMMANDS + "sheet",
        ),
        "text attention": Command(
            "show what attention reads, and test by swaps what summaries depend on",
            _FLAGS + "AttentionFlags",
            "bestguess.text.attention.command:attention",
        ),
        "text votes": Command(
            "count what people voted on such a sheet, with exact intervals", _FLAGS + "VotesFlags", _COMMANDS + "votes"
        ),
    },
)
