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
from bestguess.train.problem import Member, Problem, Purpose, State, member_key
from bestguess.train.step import Taken, loss_of, start, step
from bestguess.train.validation import judge


class Program:
    """The compiled programs of a batch of runs: `start`, and `chunk`, which trains and validates."""

    def __init__(self, problem: Problem, config: TrainConfig, members: Member, devices: list | None = None):
        config.check()
        self.problem = problem
        self.config = config
        self.size = int(members.seed.shape[0])
        self.mesh = make_mesh(self.size, config.batch_size // config.accumulate, devices)
        self.members = jax.device_put(members, self._by_run)
        self.optimizer = Optimizer(config)
        self._compiled: dict[int, Any] = {}
        # Arguments of the programs: as constants in them, a table would be compiled anew with each.
        shared, self._static = eqx.partition(problem, eqx.is_array)
        self.shared = jax.device_put(shared, NamedSharding(self.mesh, PartitionSpec()))

    def with_members(self, members: Member) -> Program:
        """Return the program of other runs; where there are as many, it shares what is compiled."""
        other = Program(self.problem, self.config, members, list(self.mesh.devices.flat))
        if other.size == self.size:
            other._compiled = self._compiled
        return other

    @property
    def _by_run(self) -> NamedSharding:
        return NamedSharding(self.mesh, PartitionSpec("run"))

    def start(self) -> State:
        """Return the state of every run before its first step."""
        return jax.jit(self._start, out_shardings=self._by_run)(self.members)

    def shape(self) -> State:
        """Return the shapes and dtypes of the state, without computing one."""
        return jax.eval_shape(self._start, self.members)

    def place(self, state: State) -> State:
        """Return a state that was read from disk, laid out over the mesh as `chunk` wants it."""
        return jax.device_put(state, self._by_run)

    def compile(self, steps: int):
        """Return the compiled program (state, members, first step, shared) → (state, metrics) for `steps` steps."""
        if steps not in self._compiled:
            # `steps` is closed over: a loop of known length compiles to better code than one of unknown length.
            program = jax.jit(
                lambda state, members, first, shared: self._chunk(
                    eqx.combine(shared, self._static), state, members, first, steps
                ),
                donate_argnums=0,
                out_shardings=(self._by_run, self._by_run),
            )
            shard = lambda s: jax.ShapeDtypeStruct(s.shape, s.dtype, sharding=self._by_run)  # noqa: E731
            state = jax.tree.map(shard, self.shape())
            first = jax.ShapeDtypeStruct((), jnp.int32)
            self._compiled[steps] = program.lower(state, self.members, first, self.shared).compile(
                _compiler_options(self.problem)
            )
        return self._compiled[steps]

    def chunk(self, state: State, first_step: int, steps: int) -> tuple[State, dict[str, Shaped[Array, "run"]]]:
        """Return the state after `steps` steps and one validation, and each run's metrics. Donates `state`."""
        return self.compile(steps)(state, self.members, np.asarray(first_step, np.int32), self.shared)

    # What follows is traced.

    def _start(self, members: Member) -> State:
        return jax.vmap(lambda member: start(self.problem, self.optimizer, member))(members)

    def _chunk(self, problem: Problem, state: State, members: Member, first_step: Int[Array, ""], steps: int):
        state, taken = self._steps(problem, state, members, first_step + jnp.arange(steps))
        count = jnp.sum(taken.live, axis=0)
        # The mean over the steps that a run took: a stopped run's later losses are no part of it.
        mean = lambda of: jnp.sum(jnp.where(taken.live, of, 0.0), axis=0) / count  # noqa: E731
        rate = functools.partial(learning_rate, self.config, step=first_step + steps - 1)
        metrics = {
            "train_loss": mean(taken.loss),
            "gradient_norm": mean(taken.gradient_norm),
            "learning_rate": jax.vmap(lambda member: rate(member.learning_rate))(members),
        }
        state, measures = self._validate(problem, state, members, first_step + steps)
        return state, metrics | measures | {"stopped": state.stopped, "fault_step": state.fault_step}

    def _steps(self, problem: Problem, state: State, members: Member, t: Int[Array, " steps"]) -> tuple[State, Taken]:
        """Return the state after the steps t, and what is told of each; leaves [steps, run]."""
        loss, drawn = loss_of(problem), self._draw(problem, members, t)
        if not problem.packed:
            return jax.lax.scan(lambda state, at: self._step(loss, state, members, *at), state, (t, drawn))
        packing = Packing(jax.tree.map(lambda leaf: leaf[0], state.model))

        def of_packed(weights, task, drawn):
            return loss(packing.unpack(weights), task, drawn)

        state = jax.vmap(packing.within)(state)
        state, taken = jax.lax.scan(lambda state, at: self._step(of_packed, state, members, *at), state, (t, drawn))
        return jax.vmap(packing.without)(state), taken

    def _step(self, loss, state: State, members: Member, t: Int[Array, ""], micro: PyTree) -> tuple[State, Taken]:
        """One step of every run: each device steps its own runs on its own part of the batch."""

        def of_run(state: State, member: Member, micro: PyTree) -> tuple[State, Taken]:
            # Only sums over the batch pass between the devices.
            return step(loss, self.optimizer, state, member, t, micro, functools.partial(over_batch, self.mesh))

        return jax.shard_map(
            functools.partial(over_runs, of_run),
            mesh=self.mesh,
            in_specs=(PartitionSpec("run"), PartitionSpec("run"), PartitionSpec("run", None, "batch")),
            out_specs=PartitionSpec("run"),
            check_vma=False,
        )(state, members, micro)

    def _draw(self, problem: Problem, members: Member, t: Int[Array, " steps"]) -> PyTree:
        """Return what every step's micro-batches are drawn from: leaves [steps, run, accumulate, n, ...]."""
        config = self.config
        keys = jax.vmap(lambda one: _keys(members, Purpose.TRAIN, one, config.batch_size))(t)
        keys = keys.reshape(len(t), self.size, config.accumulate, -1)
        keys = self._shard(keys, PartitionSpec(None, "run", None, "batch"))

        def of_run(task, keys, progress):
            return jax.vmap(jax.vmap(lambda key: problem.draw(task, key, progress)))(keys)

        of_runs = jax.vmap(of_run, in_axes=(0, 0, None))
        return jax.vmap(of_runs, in_axes=(None, 0, 0))(members.task, keys, t / config.steps)

    def _validate(self, problem: Problem, state: State, members: Member, at: Int[Array, ""]):
        """Every run's state after its validation, and its measures; the sequences are the same every time."""
        keys = _keys(members, Purpose.VALIDATE, jnp.asarray(0), self.config.validation_sequences)
        keys = self._shard(keys, PartitionSpec("run", "batch"))

        def of_run(state: State, member: Member, keys: Key[Array, " n"]):
            measures = problem.validate(state.model, member.task, keys)
            return judge(self.config, state, measures["score"], at), measures

        if self.mesh.size > 1:
            return jax.vmap(of_run)(state, members, keys)
        return over_runs(of_run, state, members, keys)

    def _shard(self, keys: Key[Array, "..."], axes: PartitionSpec) -> Key[Array, "..."]:
        return jax.lax.with_sharding_constraint(keys, NamedSharding(self.mesh, axes))


def _keys(members: Member, purpose: Purpose, t: Int[Array, ""], count: int) -> Key[Array, "run n"]:
    """The keys of every run's sequences: a function of seed, purpose and step, and of nothing else."""

    def of_run(seed):
        return jax.random.split(jax.random.fold_in(member_key(seed, purpose), t), count)

    return jax.vmap(of_run)(members.seed)


def _compiler_options(problem: Problem) -> dict[str, str | bool]:
    """On a GPU, cuBLAS for large products: Triton's are no faster there, and trying them out doubles the compilation.

    Small products in Triton take in what stands before and behind them: 1.4 to 1.6 times the steps for a packed model.
    """
    large = jax.default_backend() == "gpu" and not problem.packed
    return {"xla_gpu_enable_triton_gemm": False} if large else {}
