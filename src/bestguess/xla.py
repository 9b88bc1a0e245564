"""What XLA is told before it starts: of a jaxlib that sums wrongly, to leave out what does."""

from __future__ import annotations

import sys
import warnings
from collections.abc import MutableMapping
from importlib.metadata import PackageNotFoundError, version

_FUSION = "--xla_cpu_experimental_ynn_fusion_type"


def settle(environment: MutableMapping[str, str]) -> None:
    """Switch off, in XLA_FLAGS, what computes wrongly on a CPU in the jaxlib that is installed.

    jaxlib 0.10.2, the last for Python 3.11, hands products and sums on a CPU to YNNPACK, and programs with sums over
    some ten thousand rows then return wrong values or zeros, without a word and not every time
    (https://github.com/jax-ml/jax/issues/39103). Without it they are as fast. A later XLA may not know the flag, and
    would stop. XLA reads the variable once, when it first computes: where that was before, a warning says so. What the
    user has set stays.
    """
    try:
        installed = tuple(int(part) for part in version("jaxlib").split(".")[:2])
    except (PackageNotFoundError, ValueError):  # none, or a build of one's own
        return
    flags = environment.get("XLA_FLAGS", "")
    if installed >= (0, 11) or _FUSION in flags:
        return
    environment["XLA_FLAGS"] = f"{flags} {_FUSION}=".strip()
    bridge = sys.modules.get("jax._src.xla_bridge")  # of this jaxlib's JAX, so it is what it is
    if bridge is not None and bridge.backends_are_initialized():
        warnings.warn(
            f"JAX had begun to compute, and this jaxlib sums wrongly on a CPU: import bestguess first, or set "
            f"XLA_FLAGS={_FUSION}=",
            stacklevel=3,
        )
