"""What a compiled program needs, beside what the device has."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax

from bestguess.train.machine import free_memory, given_number


class Memory(NamedTuple):
    """Bytes that a program needs on each device, and the bytes that a device may give."""

    needed: int
    available: int

    @property
    def fits(self) -> bool:
        """Whether it fits."""
        return self.needed <= self.available

    def __str__(self) -> str:
        return f"{gigabytes(self.needed)} of {gigabytes(self.available)}"


def gigabytes(count: int | float) -> str:
    """Return a count of bytes as text, in GB (10⁹ bytes), or in MB where that is a small figure."""
    return f"{count / 1e9:.2f} GB" if count >= 1e8 else f"{count / 1e6:.1f} MB"


def program_memory(programs: list[Any]) -> int:
    """Return the bytes that compiled programs need on each device, one at a time, by XLA's own account."""
    return max(_memory_of(compiled) for compiled in programs)


def _memory_of(compiled) -> int:
    analysis = compiled.memory_analysis()
    # Donated arguments come back as outputs in the same place: count them once.
    return (
        analysis.argument_size_in_bytes
        + analysis.output_size_in_bytes
        - analysis.alias_size_in_bytes
        + analysis.temp_size_in_bytes
        + analysis.generated_code_size_in_bytes
    )


def device_memory() -> int:
    """Return the bytes that a program may use on one device: JAX's limit on a GPU, free memory on a CPU.

    The environment variable BESTGUESS_MEMORY (bytes) sets another limit, to leave room for others.
    """
    if limit := given_number("BESTGUESS_MEMORY"):
        return limit
    stats = jax.local_devices()[0].memory_stats()
    if stats and "bytes_limit" in stats:
        return stats["bytes_limit"] - stats.get("bytes_in_use", 0)
    return free_memory() // jax.local_device_count()  # a CPU's devices share one memory
