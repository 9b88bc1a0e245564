"""All names of sequences beyond those that come to mind first. Imported where a question needs them."""

from __future__ import annotations

from bestguess.integers.outside.counts import COUNTS
from bestguess.integers.outside.curious import CURIOUS
from bestguess.integers.outside.functions import OF_N
from bestguess.integers.outside.known import Known
from bestguess.integers.outside.properties import WITH_A_PROPERTY
from bestguess.integers.outside.tables import TABLES
from bestguess.integers.outside.triangles import TRIANGLES

RARER: tuple[Known, ...] = (*OF_N, *WITH_A_PROPERTY, *COUNTS, *TRIANGLES, *CURIOUS, *TABLES)
"""Sequences with a name of their own."""
