"""Experiments: a sweep, the hypotheses that it tests, its figures and its verdicts."""
