"""GPU kernels for what XLA spreads over several, written in Pallas for its Triton backend.

Triton's arrays have powers of two as sizes: what lies beyond an array reads as zeros and is not written.
"""

import importlib.util


def has_triton() -> bool:
    """Return whether JAX still has the backend: 0.11 calls it deprecated."""
    return importlib.util.find_spec("jax.experimental.pallas.triton") is not None
