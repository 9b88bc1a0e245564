"""Sweeps: a W&B sweep YAML becomes runs, runs become batches of runs, and a ledger proves that all of them are done."""
