"""The compiled step: runs of equal shapes, trained together as one program.

Every array of a run has a leading `run` axis here and none inside a `Problem`: `vmap` adds it.
What differs between runs is arrays (learning rate, key, task); what changes shapes makes another
ensemble. The run axis, then the batch axis, is sharded over the devices of a mesh, so that one
device, eight devices and several hosts take the same code.
"""

from __future__ import annotations

import abc
import dataclasses
import functools
import math
from typing import Any, ClassVar, Generic, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.flatten_util import ravel_pytree
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Bool, Float, Int, Key, PyTree, Shaped

from bestguess.command import UserError
from bestguess.train.config import TrainConfig
from bestguess.train.optimizer import Optimizer, learning_rate
from bestguess.train.packing import Packing

TaskT = TypeVar("TaskT")
ModelT = TypeVar("ModelT")


class Problem(eqx.Module, Generic[TaskT, ModelT]):
    """What a family gives the trainer: a model, a loss of one sequence, a validation.

    Its arrays are shared by all runs (a table that they draw from); what differs between runs is in their tasks.
    """

    packed: ClassVar[bool] = False
    """Whether the model is so small, and its arrays so many, that an operation's overhead outweighs its work. Steps
    then keep the weights in two flat arrays, which must all be float32, and a GPU's compiler may take Triton for
    products, which saves operations. Where arrays are large, unpacking them costs more than it saves. The gradient's
    norm is then summed in another order."""

    @abc.abstractmethod
    def init(self, task: TaskT, key: Key[Array, ""]) -> ModelT:
        """Return the initial model of one run."""

    def draw(self, task: TaskT, key: Key[Array, ""], progress: Float[Array, ""]) -> Any:
        """Return what `loss` is given of one sequence: by default the key, for `loss` to draw the sequence itself.

        A chunk's sequences are drawn before its steps, all at once: so this is the place for small things that
        take many random numbers, such as a row's place in a table, and for what depends on the training's
        progress (the step over all steps, from 0 to 1), such as a curriculum. Large sequences belong in `loss`.
        """
        return key

    @abc.abstractmethod
    def loss(self, model: ModelT, task: TaskT, drawn: Any) -> tuple[Float[Array, ""], Float[Array, ""]]:
        """Return the summed loss of one sequence and its count of targets; `drawn` is what `draw` returned."""

    @abc.abstractmethod
    def validate(self, model: ModelT, task: TaskT, key: Key[Array, " n"]) -> dict[str, Float[Array, ""]]:
        """Return measures over the sequences drawn with the n keys; `score`, to be made small, is one of them."""


class Member(eqx.Module):
    """What sets one run apart: its task, its peak learning rate, its seed."""

    task: PyTree
    """A `Task`, or of a task that the problem holds for all runs, the arrays in which this run differs."""
    learning_rate: Float[Array | np.ndarray, "*run"]
    seed: Int[Array | np.ndarray, "*run"]


class State(eqx.Module):
    """Where one run stands. With the config and the member, it determines all that follows."""

    model: PyTree
    optimizer: PyTree
    best: PyTree
    best_score: Float[Array, "*run"]
    best_step: Int[Array, "*run"]
    stale: Int[Array, "*run"]
    stopped: Bool[Array, "*run"]
    fault_step: Int[Array, "*run"]
    """The step whose loss or gradient was not finite, or −1."""


# One key a purpose, so that no two purposes share random numbers.
_INIT, _TRAIN, _VALIDATE = 0, 1, 2


def member_key(seed: Int[Array | np.ndarray, ""], purpose: int) -> Key[Array, ""]:
    """Return the key of `seed` for one purpose; families take purposes from 16 on."""
    return jax.random.fold_in(jax.random.key(seed), purpose)


class Ensemble:
    """The compiled programs of one ensemble: `start`, and `chunk`, which trains and validates."""

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

    def with_members(self, members: Member) -> Ensemble:
        """Return an ensemble of other runs; where there are as many, it shares the compiled programs."""
        other = Ensemble(self.problem, self.config, members, list(self.mesh.devices.flat))
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
        def start_one(member: Member) -> State:
            model = self.problem.init(member.task, member_key(member.seed, _INIT))
            return State(
                model=model,
                optimizer=self.optimizer.init(model),
                best=model,
                best_score=jnp.asarray(jnp.inf),
                best_step=jnp.asarray(0),
                stale=jnp.asarray(0),
                stopped=jnp.asarray(False),
                fault_step=jnp.asarray(-1),
            )

        return jax.vmap(start_one)(members)

    def _chunk(self, problem: Problem, state: State, members: Member, first_step: Int[Array, ""], steps: int):
        packing = Packing(jax.tree.map(lambda leaf: leaf[0], state.model)) if problem.packed else None

        def body(state, step_and_drawn):
            return self._step(problem, packing, state, members, *step_and_drawn)

        step = first_step + jnp.arange(steps)
        if packing is not None:
            state = jax.vmap(packing.within)(state)
        state, (loss, norm, live) = jax.lax.scan(body, state, (step, self._draw(problem, members, step)))
        if packing is not None:
            state = jax.vmap(packing.without)(state)
        count = jnp.sum(live, axis=0)
        metrics = {
            # The mean over the steps that a run took: a stopped run's later losses are no part of it.
            "train_loss": jnp.sum(jnp.where(live, loss, 0.0), axis=0) / count,
            "gradient_norm": jnp.sum(jnp.where(live, norm, 0.0), axis=0) / count,
            "learning_rate": jax.vmap(lambda m: learning_rate(self.config, m.learning_rate, first_step + steps - 1))(
                members
            ),
        }
        state, measures = self._validate(problem, state, members, first_step + steps)
        return state, metrics | measures | {"stopped": state.stopped, "fault_step": state.fault_step}

    def _keys(self, members: Member, purpose: int, step: Int[Array, ""], count: int) -> Key[Array, "run n"]:
        def keys(seed):
            return jax.random.split(jax.random.fold_in(member_key(seed, purpose), step), count)

        return jax.vmap(keys)(members.seed)

    def _shard(self, keys: Key[Array, "..."], axes: PartitionSpec) -> Key[Array, "..."]:
        return jax.lax.with_sharding_constraint(keys, NamedSharding(self.mesh, axes))

    def _over_runs(self, function, *arguments):
        """Return `function` of each run's arguments, runs of one device: all at once, or in turns on a CPU.

        A GPU fills up only with many small runs together. A CPU is full with one, and its caches hold
        one run's activations but not sixteen's: one after the other is 1.5 times as fast there.
        """
        if jax.default_backend() == "cpu":
            return jax.lax.map(lambda each: function(*each), arguments)
        return jax.vmap(function)(*arguments)

    def _over_batch(self, sums: PyTree) -> PyTree:
        """Return the total of what each device has summed over its part of a batch."""
        if self.mesh.shape["batch"] == 1:
            return sums
        if jax.default_backend() != "cpu":
            return jax.lax.psum(sums, "batch")
        # One array: threads that stand for devices wait for each other at every array anew.
        flat, restore = ravel_pytree(sums)
        return restore(jax.lax.psum(flat, "batch"))

    def _draw(self, problem: Problem, members: Member, step: Int[Array, " steps"]) -> PyTree:
        """Return what every step's micro-batches are drawn from: leaves [steps, run, accumulate, n, ...]."""
        config = self.config
        keys = jax.vmap(lambda one: self._keys(members, _TRAIN, one, config.batch_size))(step)
        keys = keys.reshape(len(step), self.size, config.accumulate, -1)
        keys = self._shard(keys, PartitionSpec(None, "run", None, "batch"))

        def of_run(task, keys, progress):
            return jax.vmap(jax.vmap(lambda key: problem.draw(task, key, progress)))(keys)

        of_runs = jax.vmap(of_run, in_axes=(0, 0, None))
        return jax.vmap(of_runs, in_axes=(None, 0, 0))(members.task, keys, step / config.steps)

    def _step(
        self,
        problem: Problem,
        packing: Packing | None,
        state: State,
        members: Member,
        step: Int[Array, ""],
        micro: PyTree,
    ):
        config = self.config

        def one_run(state: State, member: Member, micro: PyTree):
            def total(model, drawn):
                model = model if packing is None else packing.unpack(model)
                loss, count = jax.vmap(lambda each: problem.loss(model, member.task, each))(drawn)
                return jnp.sum(loss), jnp.sum(count)

            def add(sums, drawn):
                (loss, count), gradient = jax.value_and_grad(total, has_aux=True)(state.model, drawn)
                return jax.tree.map(jnp.add, sums, (gradient, loss, count)), None

            zeros = (jax.tree.map(jnp.zeros_like, state.model), jnp.zeros(()), jnp.zeros(()))
            if config.accumulate == 1:
                (gradient, loss, count), _ = add(zeros, jax.tree.map(lambda leaf: leaf[0], micro))
            else:
                (gradient, loss, count), _ = jax.lax.scan(add, zeros, micro)
            gradient, loss, count = self._over_batch((gradient, loss, count))
            return self._update(state, member, gradient, loss, count, step)

        # Each device steps its own runs on its own part of the batch; only sums over the batch pass between them.
        return jax.shard_map(
            functools.partial(self._over_runs, one_run),
            mesh=self.mesh,
            in_specs=(PartitionSpec("run"), PartitionSpec("run"), PartitionSpec("run", None, "batch")),
            out_specs=PartitionSpec("run"),
            check_vma=False,
        )(state, members, micro)

    def _update(
        self,
        state: State,
        member: Member,
        gradient: PyTree,
        loss: Float[Array, ""],
        count: Float[Array, ""],
        step: Int[Array, ""],
    ):
        """One run's optimiser step, unless the run has stopped or its loss or gradient is not finite."""
        # Divided once, by all targets of the batch: a mean of micro-batches' means would weigh them wrongly.
        scale = 1 / count
        loss, norm = loss * scale, optax.tree.norm(gradient) * scale
        finite = jnp.isfinite(loss) & jnp.isfinite(norm)
        live = ~state.stopped & finite
        fault = ~state.stopped & ~finite
        optimizer = self.optimizer.update(gradient, state.optimizer, state.model, scale, live)
        rate = learning_rate(self.config, member.learning_rate, step)

        def moved():
            direction = self.optimizer.direction(optimizer, state.model)
            return jax.tree.map(lambda p, d: p - rate * d, state.model, direction)

        model = jax.lax.cond(live, moved, lambda: state.model)
        state = dataclasses.replace(
            state,
            model=model,
            optimizer=optimizer,
            stopped=state.stopped | fault,
            fault_step=jnp.where(fault, step, state.fault_step),
        )
        return state, (loss, norm, live)

    def _validate(self, problem: Problem, state: State, members: Member, step: Int[Array, ""]):
        keys = self._keys(members, _VALIDATE, jnp.asarray(0), self.config.validation_sequences)
        keys = self._shard(keys, PartitionSpec("run", "batch"))

        def one_run(state: State, member: Member, keys: Key[Array, " n"]):
            measures = problem.validate(state.model, member.task, keys)
            score = measures["score"]
            live = ~state.stopped
            # The best weights are the best, by however little; patience asks for more than `min_delta`.
            better = live & (score < state.best_score)
            enough = score < state.best_score - self.config.min_delta * jnp.abs(state.best_score)
            progress = better & (enough | jnp.isinf(state.best_score))
            stale = jnp.where(live, jnp.where(progress, 0, state.stale + 1), state.stale)
            bored = (stale >= self.config.patience) if self.config.patience else jnp.asarray(False)
            best, best_score, best_step = _where(
                better, (state.model, score, step), (state.best, state.best_score, state.best_step)
            )
            judged = dataclasses.replace(
                state,
                best=best,
                best_score=best_score,
                best_step=best_step,
                stale=stale,
                stopped=state.stopped | (live & bored),
            )
            return judged, measures

        if self.mesh.size > 1:
            return jax.vmap(one_run)(state, members, keys)
        return self._over_runs(one_run, state, members, keys)


def _compiler_options(problem: Problem) -> dict[str, str | bool]:
    """On a GPU, cuBLAS for large products: Triton's are no faster there, and trying them out doubles the compilation.

    Small products in Triton take in what stands before and behind them: 1.4 to 1.6 times the steps for a packed model.
    """
    large = jax.default_backend() == "gpu" and not problem.packed
    return {"xla_gpu_enable_triton_gemm": False} if large else {}


def _where(condition: Bool[Array, ""], new: PyTree, old: PyTree) -> PyTree:
    return jax.tree.map(lambda a, b: jnp.where(condition, a, b), new, old)


def make_mesh(runs: int, batch: int, devices: list | None = None) -> Mesh:
    """Return a mesh with axes `run` and `batch`: runs spread first, what devices are left share each batch.

    Uses as many devices as divide the work evenly, the largest such number.
    """
    devices = jax.devices() if devices is None else devices
    n_run = math.gcd(runs, len(devices))
    n_batch = math.gcd(batch, len(devices) // n_run)
    used = devices[: n_run * n_batch]
    if {device.process_index for device in used} != {device.process_index for device in devices}:
        raise UserError(
            f"{runs} runs with batches of {batch} spread over {len(used)} of {len(devices)} devices, and leave a whole "
            "process without one; start fewer processes, or make the batch a multiple of their number"
        )
    return jax.make_mesh((n_run, n_batch), ("run", "batch"), axis_types=(AxisType.Auto,) * 2, devices=used)
