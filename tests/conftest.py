"""What every test runs under. Imports no JAX: rooms without it are tested without it.

JAX reads its settings from the environment when it is first imported; the processes that tests start inherit them.
"""

from __future__ import annotations

import gc
import os
import shutil
import signal
import sys
import tempfile
from importlib.metadata import entry_points, version
from pathlib import Path
from types import FunctionType
from typing import Any, Literal, get_args, get_origin

import jaxtyping
import pytest
from hypothesis import settings
from jaxtyping import install_import_hook

os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["JAX_NUMPY_RANK_PROMOTION"] = "raise"
os.environ["MPLBACKEND"] = "agg"
os.environ.pop("BESTGUESS_MEMORY", None)
# What programs cache is no business of the user's own cache.
os.environ["XDG_CACHE_HOME"] = os.path.join(tempfile.gettempdir(), f"bestguess-tests-{os.getuid()}")
if sys.dont_write_bytecode:
    # Whoever wants no bytecode beside the sources gets none there; without any, every process that a test starts
    # would compile all that it imports.
    sys.dont_write_bytecode = False
    sys.pycache_prefix = os.environ["PYTHONPYCACHEPREFIX"] = os.path.join(os.environ["XDG_CACHE_HOME"], "bytecode")
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
# One program is compiled once in a run of the tests, by whichever worker of xdist meets it first: the folder is the
# run's own, and goes with it. Processes that tests start compile for themselves (`pytest_collection`).
RUN = "BESTGUESS_TESTS_RUN"
STARTED = RUN not in os.environ
if STARTED:
    os.environ[RUN] = tempfile.mkdtemp(prefix="bestguess-compiled-")
SHARED = {
    "JAX_ENABLE_COMPILATION_CACHE": "true",
    "JAX_COMPILATION_CACHE_DIR": os.environ[RUN],
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.1",
    "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
}
os.environ |= SHARED
# Tests compile much and compute little: without these the suite takes twice as long. XLA would also cut every program
# into parts for threads that there are not: in one part it compiles in three quarters of the time. An XLA that does not
# know a flag says so and stops: the last is gone from jaxlib 0.11.
FASTER_TO_COMPILE = "--xla_backend_optimization_level=0 --xla_cpu_parallel_codegen_split_count=1"
if tuple(map(int, version("jaxlib").split(".")[:2])) < (0, 11):
    FASTER_TO_COMPILE += " --xla_cpu_use_fusion_emitters=false"
os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {FASTER_TO_COMPILE}".strip()
# One thread for each worker of xdist: more would fight over the cores.
for name in ("PJRT_NPROC", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")

# Of a shell that started the tests in the background: an interrupt is ignored then, by whatever they start as well.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# No test pulls the plug: what a process has written is there, whether or not it has reached the disk.
os.fsync = lambda descriptor: None

# No test asserts a time: on a busy machine an example may take as long as it likes.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


@pytest.hookimpl(wrapper=True)
def pytest_collection():
    """Import everything without looking for garbage, a fifth of the time of it, and never look through it again.

    Later, too, look for it a fourteenth as often: what JAX keeps of every program is much to look through.
    Then JAX has read its settings, and processes that tests start get others.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.set_threshold(10_000, 10, 10)
        gc.enable()
        for name in SHARED:
            del os.environ[name]
        os.environ["JAX_ENABLE_COMPILATION_CACHE"] = "false"


def pytest_unconfigure() -> None:
    """Whoever made the folder of compiled programs removes it."""
    if STARTED:
        shutil.rmtree(os.environ.pop(RUN), ignore_errors=True)


@pytest.fixture
def compiled_alone():
    """The test compiles every program itself, as often as it makes one: none is another's."""
    import jax
    from jax.experimental.compilation_cache.compilation_cache import reset_cache

    kept = jax.config.jax_enable_compilation_cache
    jax.config.update("jax_enable_compilation_cache", False)
    reset_cache()
    yield
    jax.config.update("jax_enable_compilation_cache", kept)
    reset_cache()


MAPPINGS = 20_000
"""Mappings of memory after which what was compiled is forgotten. A compiled program takes about 16, and Linux grants a
process 65,530 (vm.max_map_count): a worker that keeps some 4,000 programs dies while it compiles the next."""


def pytest_runtest_teardown(item, nextitem) -> None:
    """Between two files: forget compiled programs before the process runs out of mappings."""
    maps = Path("/proc/self/maps")
    if "jax" not in sys.modules or (nextitem is not None and nextitem.path == item.path) or not maps.exists():
        return
    if maps.read_bytes().count(b"\n") > MAPPINGS:
        sys.modules["jax"].clear_caches()
        gc.collect()


OPTIMISED = {"bestguess.integers.evaluate": "_compare"}
"""Programs that compute for longer than they compile, by module: compiled as outside of tests. The regret after
every prefix of a table takes three times as long otherwise."""


def pytest_runtest_setup(item) -> None:
    """Compile with XLA's own settings what is told to be, as soon as a test has imported it."""
    for module in [module for module in OPTIMISED if module in sys.modules]:
        import equinox as eqx

        name = OPTIMISED.pop(module)
        options = {"xla_backend_optimization_level": 3, "xla_cpu_use_fusion_emitters": True}
        plain = getattr(sys.modules[module], name).__wrapped__
        setattr(sys.modules[module], name, eqx.filter_jit(plain, compiler_options=options))


TYPED = jaxtyping.jaxtyped  # the hook's decorator, which `typed` takes the place of


def shapeless(hint: Any) -> bool:
    """Whether a type hint surely has no type of jaxtyping in it."""
    if get_origin(hint) is Literal:
        return True
    if parts := get_args(hint):
        return all(map(shapeless, parts))
    if isinstance(hint, type):
        return not hasattr(hint, "dim_str") and not hint.__module__.startswith("jaxtyping")
    return hint in (None, ..., Any)


def without_shapes(one: FunctionType) -> bool:
    """Whether beartype alone can check all of a function's annotations: none has a shape, none is unknown yet."""
    try:
        return all(
            shapeless(eval(hint, one.__globals__)) if isinstance(hint, str) else shapeless(hint)
            for hint in one.__annotations__.values()
        )
    except Exception:  # a name that there is only later, or only for mypy
        return False


def typed(*args: Any, **kwargs: Any) -> Any:
    """Decorate what the import hook finds: functions without shapes in their signatures are checked by beartype alone.

    Three in four are such. jaxtyping would make two more functions of each, and a frame of shapes for every call.
    """
    if args or set(kwargs) != {"typechecker"}:
        return TYPED(*args, **kwargs)

    def decorate(one: Any) -> Any:
        if not isinstance(one, FunctionType):
            return TYPED(one, **kwargs)
        if not one.__annotations__:
            return one
        return kwargs["typechecker"](one) if without_shapes(one) else TYPED(one, **kwargs)

    return decorate


# Shapes in signatures are enforced here, and only here. A family of ours is known by its entry point.
FAMILIES = [entry.value.rpartition(".")[0] for entry in entry_points(group="bestguess.families")]
jaxtyping.jaxtyped = typed
install_import_hook(
    [
        *("bestguess.task", "bestguess.sampled", "bestguess.nn", "bestguess.train", "bestguess.workflow"),
        *(package for package in FAMILIES if package.startswith("bestguess.")),
    ],
    "beartype.beartype",
)


def pytest_addoption(parser):
    group = parser.getgroup("hostile", "tests/hostile: inputs that are off")
    group.addoption("--hostile-cases", type=int, default=40, help="how many are tried")
    group.addoption("--hostile-seed", type=int, default=0, help="which ones")
    group.addoption("--hostile-first", type=int, default=0, help="number of the first: how one case is tried again")
    group.addoption("--hostile-workers", type=int, default=0, help="processes at a time; 0: one for 50 cases and core")
    group.addoption("--hostile-out", type=Path, help="JSON lines of every case as it ends; carried on")
