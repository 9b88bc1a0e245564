"""Functions run as one compiled program each: an operation at a time, JAX would compile every operation by itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import equinox as eqx


@eqx.filter_jit
def whole(function: Callable, *args: Any, **kwargs: Any) -> Any:
    """Return what a function, a model or a model's method returns; arrays are traced, all else is as it was given.

    Equal calls share one program: not for what a test patches, since a program made before would be taken.
    """
    return function(*args, **kwargs)
