"""The compiled program around the step: a batch of runs of equal shapes, a chunk of steps and one validation.

What differs between its runs is arrays (learning rate, key, task), which have a leading run axis here; what changes
shapes makes another program. The run axis, then the batch axis, is sharded over the devices of a mesh, so that one
device, eight devices and several hosts take the same code. The mathematics of a step stands in `step.py`.
"""

from __future__ import annotations

import functools
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec
from jaxtyping import Array, Int, Key, PyTree, Shaped

from bestguess.train.config import TrainConfig
from bestguess.train.mesh import make_mesh, over_batch, over_runs
from bestguess.train.optimizer import Optimizer, learning_rate
from bestguess.train.packing import Packing
from bestguess.train.problem import Member, Problem, Purpose, State, Turn, sequence_keys
from bestguess.train.step import Taken, loss_of, start, step
from bestguess.train.validation import judge

PIECE = 1_000_000
"""Bytes that the host reads at a time for a problem that is fed; two pieces are under way at once."""


class Program:
    """The compiled programs of a batch of runs: `start`, and `chunk`, which trains and validates."""

    def __init__(self, problem: Problem, config: TrainConfig, members: Member, devices: list | None = None):
        config.check()
        self.problem = problem
        self.config = config
        self.size = int(members.seed.shape[0])
        self.mesh = make_mesh(self.size, config.batch_size // config.accumulate, devices)
        self.members = jax.device_put(members, self._by_run)
        self.optimizer = Optimizer(config, problem.hidden)
        # Muon needs matrices, not a flat array of all of them.
        self.packed = problem.packed and config.optimizer != "muon"
        self._compiled: dict[Any, Any] = {}
        # Arguments of the programs: as constants in them, a table would be compiled anew with each.
        shared, self._static = eqx.partition(problem, eqx.is_array)
        self.shared = jax.device_put(shared, NamedSharding(self.mesh, PartitionSpec()))
        self._begin = jax.jit(
            lambda members, shared: self._start(eqx.combine(shared, self._static), members), out_shardings=self._by_run
        )

    def with_members(self, members: Member) -> Program:
        """Return the program of other runs; where there are as many, it shares what is compiled."""
        other = Program(self.problem, self.config, members, list(self.mesh.devices.flat))
        if other.size == self.size:
            other._compiled = self._compiled
        return other

    @property
    def _by_run(self) -> NamedSharding:
        return NamedSharding(self.mesh, PartitionSpec("run"))

    @property
    def _by_place(self) -> NamedSharding:
        return NamedSharding(self.mesh, PartitionSpec(None, "run", None, "batch"))

    def start(self) -> State:
        """Return the state of every run before its first step."""
        return self._begin(self.members, self.shared)

    def shape(self) -> State:
        """Return the shapes and dtypes of the state, without computing one."""
        return jax.eval_shape(functools.partial(self._start, self.problem), self.members)

    def place(self, state: State) -> State:
        """Return a state that was read from disk, laid out over the mesh as `chunk` wants it."""
        return jax.device_put(state, self._by_run)

    def compile(self, steps: int) -> list[Any]:
        """Return the compiled programs of a chunk of `steps` steps: one, or of a problem that is fed, several."""
        # `steps` is closed over: a loop of known length compiles to better code than one of unknown length.
        if not self.problem.fed_bytes:
            return [self._program(steps, functools.partial(self._chunk, steps))]
        return [
            *(self._program(("piece", one), self._piece_of(one), self._shape_fed(one)) for one in self._pieces(steps)),
            self._program("end", self._end, jax.eval_shape(self._no_sums)),
        ]

    def chunk(self, state: State, first_step: int, steps: int) -> tuple[State, dict[str, Shaped[Array, "run"]]]:
        """Return the state after `steps` steps and one validation, and each run's metrics. Donates `state`."""
        at = lambda step: np.asarray(step, np.int32)  # noqa: E731
        if not self.problem.fed_bytes:
            (program,) = self.compile(steps)
            return program(state, self.members, at(first_step), self.shared)
        *programs, end = self.compile(steps)
        sums, done = [], first_step
        for piece, program in zip(self._pieces(steps), programs):
            # The host reads this piece while the device is busy with the last one.
            fed = jax.device_put(self._fed(done, piece), self._by_place)
            state, own = program(state, self.members, at(done), self.shared, fed)
            sums.append(own)
            done += piece
            if len(sums) > 1:
                jax.block_until_ready(sums[-2])
        total = jax.tree.map(lambda *leaves: sum(leaves[1:], leaves[0]), *sums)
        return end(state, self.members, at(done), self.shared, total)

    def _program(self, key: Any, function: Any, *more: PyTree) -> Any:
        """Return the compiled (state, members, step, shared, *more) → (state, what has a leading run axis)."""
        if key not in self._compiled:
            program = jax.jit(
                lambda state, members, first, shared, *more: function(
                    eqx.combine(shared, self._static), state, members, first, *more
                ),
                donate_argnums=0,
                out_shardings=(self._by_run, self._by_run),
            )
            shard = lambda s: jax.ShapeDtypeStruct(s.shape, s.dtype, sharding=self._by_run)  # noqa: E731
            state = jax.tree.map(shard, self.shape())
            first = jax.ShapeDtypeStruct((), jnp.int32)
            self._compiled[key] = program.lower(state, self.members, first, self.shared, *more).compile(
                _compiler_options(self.packed)
            )
        return self._compiled[key]

    def _pieces(self, steps: int) -> list[int]:
        """Return the lengths in steps of the pieces of a chunk, of a problem that is fed."""
        step = self.problem.fed_bytes * self.config.batch_size * self.size
        piece = max(1, min(steps, PIECE // step))
        return [piece] * (steps // piece) + ([steps % piece] if steps % piece else [])

    def _fed(self, first_step: int, steps: int) -> PyTree:
        """Return what the host reads for some steps: leaves [steps, run, accumulate, n, …]."""
        batch, accumulate = self.config.batch_size, self.config.accumulate
        seeds = [int(seed) for seed in np.asarray(jax.device_get(self.members.seed))]
        read = self.problem.feed(seeds, first_step * batch, steps * batch)
        shape = (self.size, steps, accumulate, batch // accumulate)
        return jax.tree.map(lambda leaf: np.moveaxis(leaf.reshape(*shape, *leaf.shape[2:]), 0, 1), read)

    def _shape_fed(self, steps: int) -> PyTree:
        def like(leaf: np.ndarray) -> jax.ShapeDtypeStruct:
            return jax.ShapeDtypeStruct((steps, *leaf.shape[1:]), leaf.dtype, sharding=self._by_place)

        return jax.tree.map(like, self._fed(0, 1))

    # What follows is traced.

    def _start(self, problem: Problem, members: Member) -> State:
        state = jax.vmap(lambda member: start(problem, self.optimizer, member))(members)
        if not problem.judged_at_start:
            return state
        return self._validate(problem, state, members, jnp.asarray(0))[0]

    def _chunk(self, steps: int, problem: Problem, state: State, members: Member, first_step: Int[Array, ""]):
        state, sums = self._sums_of_steps(problem, state, members, first_step + jnp.arange(steps), None)
        return self._end(problem, state, members, first_step + steps, sums)

    def _piece_of(self, steps: int):
        return lambda problem, state, members, first_step, fed: self._sums_of_steps(
            problem, state, members, first_step + jnp.arange(steps), fed
        )

    def _sums_of_steps(self, problem: Problem, state: State, members: Member, t: Int[Array, " steps"], fed: PyTree):
        """Return the state after the steps t, and of each run the sums over the steps that it took."""
        state, taken = self._steps(problem, state, members, t, fed)
        # A stopped run's later losses are no part of a mean.
        total = lambda of: jnp.sum(jnp.where(taken.live, of, 0.0), axis=0)  # noqa: E731
        return state, (total(taken.loss), total(taken.gradient_norm), jnp.sum(taken.live, axis=0))

    def _no_sums(self):
        return jnp.zeros(self.size), jnp.zeros(self.size), jnp.zeros(self.size, jnp.int32)

    def _end(self, problem: Problem, state: State, members: Member, at: Int[Array, ""], sums: PyTree):
        """Return the state after the validation that ends a chunk, and each run's metrics of it."""
        loss, norm, count = sums
        rate = functools.partial(learning_rate, self.config, step=at - 1)
        metrics = {
            "train_loss": loss / count,
            "gradient_norm": norm / count,
            "learning_rate": jax.vmap(lambda member: rate(member.learning_rate))(members),
        }
        state, measures = self._validate(problem, state, members, at)
        measures |= jax.vmap(lambda one: problem.kept_measures(one.kept))(state)
        return state, metrics | measures | {
            "stopped": state.stopped,
            "fault_step": state.fault_step,
            "steps_taken": count,
        }

    def _steps(
        self, problem: Problem, state: State, members: Member, t: Int[Array, " steps"], fed: PyTree
    ) -> tuple[State, Taken]:
        """Return the state after the steps t, and what is told of each; leaves [steps, run]."""
        drawn = self._draw(problem, members, t, fed)
        unpack = lambda weights: weights  # noqa: E731
        if self.packed:
            packing = Packing(jax.tree.map(lambda leaf: leaf[0], state.model))
            unpack, state = packing.unpack, jax.vmap(packing.within)(state)
        state, taken = jax.lax.scan(
            lambda state, at: self._step(problem, unpack, state, members, *at), state, (t, drawn)
        )
        return (jax.vmap(packing.without)(state) if self.packed else state), taken

    def _step(
        self, problem: Problem, unpack, state: State, members: Member, t: Int[Array, ""], micro: PyTree
    ) -> tuple[State, Taken]:
        """One step of every run: each device steps its own runs on its own part of the batch."""

        def of_device(problem: Problem, t: Int[Array, ""], *of_runs: PyTree) -> tuple[State, Taken]:
            loss = loss_of(problem)

            def of_run(state: State, member: Member, micro: PyTree) -> tuple[State, Taken]:
                # Only sums over the batch pass between the devices.
                of_weights = lambda weights, task, drawn: loss(unpack(weights), task, drawn)  # noqa: E731
                total = functools.partial(over_batch, self.mesh)
                return step(of_weights, self.optimizer, state, member, t, micro, total, problem.note, problem.held)

            return over_runs(of_run, *of_runs)

        by_run, everywhere = PartitionSpec("run"), PartitionSpec()
        return jax.shard_map(
            of_device,
            mesh=self.mesh,
            in_specs=(everywhere, everywhere, by_run, by_run, PartitionSpec("run", None, "batch")),
            out_specs=by_run,
            check_vma=False,
        )(problem, t, state, members, micro)

    def _draw(self, problem: Problem, members: Member, t: Int[Array, " steps"], fed: PyTree) -> PyTree:
        """Return what every step's micro-batches are drawn from: leaves [steps, run, accumulate, n, ...]."""
        config = self.config
        keys = jax.vmap(lambda one: _keys(members, Purpose.TRAIN, one, config.batch_size))(t)
        keys = keys.reshape(len(t), self.size, config.accumulate, -1)
        keys = self._shard(keys, PartitionSpec(None, "run", None, "batch"))
        numbers = t[:, None] * config.batch_size + jnp.arange(config.batch_size)[None]
        numbers = numbers.reshape(len(t), config.accumulate, -1)

        def of_run(task, keys, fed, numbers, progress):
            turn = lambda key, number, fed: problem.draw(task, Turn(key, progress, number, fed))  # noqa: E731
            return jax.vmap(jax.vmap(turn))(keys, numbers, fed)

        of_runs = jax.vmap(of_run, in_axes=(0, 0, 0, None, None))
        of_steps = jax.vmap(of_runs, in_axes=(None, 0, 0, 0, 0))
        return of_steps(members.task, keys, fed, numbers, t / config.steps)

    def _validate(self, problem: Problem, state: State, members: Member, at: Int[Array, ""]):
        """Every run's state after its validation, and its measures; the sequences are the same every time, or fresh."""
        turn = at if self.config.fresh_validation else jnp.asarray(0)
        keys = _keys(members, Purpose.VALIDATE, turn, self.config.validation_sequences)
        keys = self._shard(keys, PartitionSpec("run", "batch"))

        def of_run(state: State, member: Member, keys: Key[Array, " n"]):
            measures = problem.validate(state.judged, member.task, keys)
            return judge(self.config, state, measures["score"], at), measures

        if self.mesh.size > 1:
            return jax.vmap(of_run)(state, members, keys)
        return over_runs(of_run, state, members, keys)

    def _shard(self, keys: Key[Array, "..."], axes: PartitionSpec) -> Key[Array, "..."]:
        return jax.lax.with_sharding_constraint(keys, NamedSharding(self.mesh, axes))


def _keys(members: Member, purpose: Purpose, t: Int[Array, ""], count: int) -> Key[Array, "run n"]:
    """The keys of every run's sequences of a step."""
    return jax.vmap(lambda seed: sequence_keys(seed, purpose, t, count))(members.seed)


def _compiler_options(packed: bool) -> dict[str, str | bool]:
    """On a GPU, cuBLAS for large products: Triton's are no faster there, and trying them out doubles the compilation.

    Small products in Triton take in what stands before and behind them: 1.4 to 1.6 times the steps for a packed model.
    """
    large = jax.default_backend() == "gpu" and not packed
    return {"xla_gpu_enable_triton_gemm": False} if large else {}
