"""What a machine leaves a process, from the files of systems made up here."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from bestguess.command import UserError
from bestguess.train.machine import free_memory, given_number, usable_cores

MEMINFO = "MemTotal:       1000 kB\nMemFree:         100 kB\nMemAvailable:    700 kB\nHugePages_Total:   0\n"


@pytest.fixture
def system(tmp_path):
    """Return what writes the files of a system that has 700 kB available of 1000, and their root."""

    def write(**files: str) -> Path:
        for name, text in {"proc/meminfo": MEMINFO, **files}.items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(text)
        return tmp_path

    return write


def group(folder: str, limit: str, taken: int, cached: int, version: int = 2) -> dict[str, str]:
    names = ("memory.max", "memory.current") if version == 2 else ("memory.limit_in_bytes", "memory.usage_in_bytes")
    stat = f"file 9\n{'' if version == 2 else 'total_'}inactive_file {cached}\n"
    return {
        f"sys/fs/cgroup/{folder}{name}": text
        for name, text in zip((*names, "memory.stat"), (f"{limit}\n", f"{taken}\n", stat))
    }


def test_what_caches_files_is_free(system):
    assert free_memory(system()) == 700 * 1024


def test_a_system_that_does_not_know_its_caches_has_what_nothing_holds(system):
    assert free_memory(system(**{"proc/meminfo": MEMINFO.replace("MemAvailable", "Buffers")})) == 100 * 1024


def test_a_group_leaves_what_it_does_not_hold_but_as_a_cache(system):
    groups = {**group("job/step/", "max", 90_000, 0), **group("job/", "100000", 90_000, 20_000)}
    assert free_memory(system(**{"proc/self/cgroup": "0::/job/step\n"}, **groups)) == 30_000


def test_a_group_beyond_its_limit_leaves_nothing(system):
    assert free_memory(system(**{"proc/self/cgroup": "0::/job\n"}, **group("job/", "100", 200, 0))) == 0


def test_a_group_larger_than_the_machine_leaves_the_machine(system):
    big = group("", str(10**12), 0, 0)
    assert free_memory(system(**{"proc/self/cgroup": "0::/\n"}, **big)) == 700 * 1024


def test_a_group_of_version_1_whose_path_a_container_hides(system):
    entries = "5:devices:/hidden\n4:cpu,memory:/hidden\n0::/\n"
    files = group("memory/", "200000", 50_000, 1_000, version=1)
    assert free_memory(system(**{"proc/self/cgroup": entries}, **files)) == 151_000


def test_a_system_that_does_not_say_has_half_of_its_memory(tmp_path):
    assert free_memory(tmp_path) == os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2


@pytest.mark.parametrize("text", ["x", "-1", "0", "nan", "inf", "1e400", "9" * 5000, "1,5", " "])
def test_a_variable_that_is_no_number_is_one_line(monkeypatch, text):
    monkeypatch.setenv("PJRT_NPROC", text)
    with pytest.raises(UserError) as error:
        usable_cores()
    assert str(error.value) == f"PJRT_NPROC={text[:40]}: expected a positive number; set it, or unset it"


def test_a_variable_gives_a_number_or_none(monkeypatch):
    monkeypatch.setenv("PJRT_NPROC", "3")
    assert usable_cores() == 3
    monkeypatch.setenv("BESTGUESS_MEMORY", "8e9")
    assert given_number("BESTGUESS_MEMORY") == 8_000_000_000
    for empty in ("", None):
        monkeypatch.setenv("BESTGUESS_MEMORY", "") if empty == "" else monkeypatch.delenv("BESTGUESS_MEMORY")
        assert given_number("BESTGUESS_MEMORY") is None
