"""Train small transformers to predict what comes next, beside the best possible guess."""

__version__ = "0.1.0"
