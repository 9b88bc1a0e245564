"""Equal pictures are drawn once here."""

from tests.drawn import drawn_once, undrawn  # noqa: F401
