"""Train small transformers to predict what comes next, and measure their regret: the best predictor is known."""

import os
from typing import TYPE_CHECKING, Any

from bestguess import xla

__version__ = "0.1.0"
__all__ = ["judge", "open_task"]

if TYPE_CHECKING:
    from bestguess.judging import judge, open_task


xla.settle(os.environ)


def __getattr__(name: str) -> Any:
    # Imported at the first use: the command line answers --help without JAX.
    if name in __all__:
        from bestguess import judging

        return getattr(judging, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
