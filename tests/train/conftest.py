"""Trainings of equal shapes share their compiled programs here: compiling them anew is most of a test's time."""

from __future__ import annotations

import dataclasses

import pytest

_PROGRAMS: dict = {}


@pytest.fixture(scope="session", autouse=True)
def shared_programs():
    import jax

    from bestguess.train.program import Program

    make = Program.__init__

    def init(self, problem, config, members, devices=None):
        make(self, problem, config, members, devices)
        # What the programs depend on, by the design: all but the numbers in the arrays, and the clock.
        alike = dataclasses.replace(config, checkpoint_every=0.0, learning_rate=(), first_seed=0, seeds=1)
        leaves = [(leaf.shape, str(leaf.dtype)) for leaf in jax.tree.leaves((problem, members))]
        shape = jax.tree.structure((problem, members)), tuple(leaves)
        key = shape, alike, self.size, tuple(self.mesh.devices.flat), jax.default_backend()
        self._compiled, self._begin = _PROGRAMS.setdefault(key, (self._compiled, self._begin))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Program, "__init__", init)
        yield
