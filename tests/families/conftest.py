"""Trainings of equal shapes share their programs here, too: most of a family's nine are alike. So are pictures."""

from tests.drawn import drawn_once, undrawn  # noqa: F401
from tests.train.conftest import shared_programs  # noqa: F401
