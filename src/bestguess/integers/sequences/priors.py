"""The priors: which families of sequences a config draws from."""

from __future__ import annotations

import dataclasses

from bestguess.integers.config import IntegerTaskConfig
from bestguess.integers.sequences.language import Family
from bestguess.integers.sequences.recurrences import FAMILIES

_ROUNDINGS, _ROUNDED = ("floor of geometric", "ceiling of geometric"), 0.02


def families_of(config: IntegerTaskConfig) -> tuple[Family, ...]:
    """Return the families of a config's prior and phases."""
    families = FAMILIES
    if config.prior == "wide":
        # Imported only where it is asked for: it declares as many families again.
        from bestguess.integers.sequences.wider import WIDER

        # Each of these two has a thousand rows: at their first weight, 1, 2, 3, 4 went on with 6 = ⌈(3/2)⁴⌉.
        families = tuple(
            dataclasses.replace(one, weight=_ROUNDED) if one.name in _ROUNDINGS else one for one in families
        )
        families += WIDER
    return tuple(family for family in families if family.phase <= config.phases)
