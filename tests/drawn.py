"""Pictures drawn once, or not at all: what a command drew for one test, it does not draw again for the next."""

from __future__ import annotations

import pickle

import pytest

_FILES: dict[bytes, list[bytes]] = {}


@pytest.fixture(scope="session", autouse=True)
def drawn_once():
    """Files of a picture depend on the picture alone (tests/report): equal pictures are laid out and drawn once."""
    from bestguess.report import matplotlib_renderer

    draw = matplotlib_renderer.render_all

    def remembered(picture, kinds, dpi=200, titled=True):
        key = pickle.dumps((picture, tuple(kinds), dpi, titled))
        if key not in _FILES:
            _FILES[key] = draw(picture, kinds, dpi, titled)
        return list(_FILES[key])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(matplotlib_renderer, "render_all", remembered)
        yield


@pytest.fixture
def undrawn(monkeypatch) -> None:
    """Figures like those that another test draws are composed here, but neither laid out nor drawn once more."""
    from bestguess.report import matplotlib_renderer

    def composed(picture, kinds, dpi=200, titled=True):
        matplotlib_renderer.figure(picture, titled)
        return [f"<{kind}/>".encode() for kind in kinds]

    monkeypatch.setattr(matplotlib_renderer, "render_all", composed)
