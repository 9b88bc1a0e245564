"""Inputs that are off: by the thousand, by hand; here, a seeded few. None may crash, hang, lie or lose.

uv run pytest tests/hostile --hostile-cases 20000 -n 0 -s
"""

from __future__ import annotations

from pathlib import Path

import pytest

from bestguess.train.machine import usable_cores
from tests.hostile import campaign


@pytest.fixture(scope="module")
def samples(tmp_path_factory) -> Path:
    """Sound inputs of every kind."""
    folder = tmp_path_factory.mktemp("samples")
    process = campaign.start("tests.hostile.samples", folder)
    _, said = process.communicate()
    assert process.returncode == 0, said[-3000:]
    return folder


@pytest.mark.slow
def test_no_input_crashes_hangs_lies_or_loses(samples, request):
    names = ("cases", "seed", "first", "workers", "out")
    count, seed, first, workers, out = (request.config.getoption(f"--hostile-{name}") for name in names)
    numbers = range(first, first + count)
    found = campaign.run(samples, seed, numbers, workers or max(1, min(usable_cores(), count // 50)), out)
    print("\n" + campaign.table(found))
    assert [one.number for one in found] == list(numbers)
    wrong = campaign.faults(found)
    assert not wrong, "\n\n".join(wrong)


def test_a_campaign_is_carried_on(tmp_path):
    """Of a file's cases none is tried again; a line that was cut off when the campaign was killed is none."""
    done = [campaign.Result(number, 3, ["rolls", "make"], "", "", 2, "", "") for number in (10, 12, 70, 129)]
    out = tmp_path / "cases.jsonl"
    with open(out, "w") as file:
        for one in done:
            campaign.kept(one, file)
        file.write('{"number": 13, "see')
    assert campaign.read(out) == done
    parts = list(campaign._parts(range(10, 130), {one.number for one in done}))
    assert parts == [range(11, 12), range(13, 63), range(63, 70), range(71, 121), range(121, 129)]
    assert campaign.run(tmp_path, 3, range(12, 13), 1, out) == done[1:2]
    assert "| rolls make | 4 | 4 | 0 | 0 | 0 |" in campaign.table(done, campaign.command_of)
