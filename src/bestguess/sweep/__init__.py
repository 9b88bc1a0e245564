"""Sweeps: a W&B sweep YAML becomes runs, runs become ensembles, and a ledger proves that all of them are done."""
