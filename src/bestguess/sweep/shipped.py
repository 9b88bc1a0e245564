"""The sweeps that the package ships: found by name, from a checkout or a wheel. Imports nothing heavy."""

from __future__ import annotations

from pathlib import Path

import bestguess

_PACKAGE = Path(bestguess.__file__).parent
SHIPPED = (_PACKAGE / "experiments", _PACKAGE.parents[1] / "experiments")
"""Where their YAML lies: in the installed package, or in the checkout around it."""


def shipped() -> dict[str, Path]:
    """Return the YAML of each shipped sweep by its name."""
    return {path.stem: path for place in reversed(SHIPPED) for path in sorted(place.glob("*.yaml"))}


def find(name: str) -> Path | None:
    """Return the YAML that `name` means, a file or a shipped sweep; None where it can only be a sweep's ID."""
    if name.endswith((".yaml", ".yml")):
        return Path(name)
    return shipped().get(name)
