"""Trainings of equal shapes share their compiled programs here, too: most of a family's nine are alike."""

from tests.train.conftest import shared_programs  # noqa: F401
