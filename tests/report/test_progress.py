"""Progress tells the right figures on a terminal and in a log; tables keep their figures whole."""

import io
import re

import numpy as np
import pytest
from rich.console import Console

from bestguess.report.progress import PartsProgress, TrainingProgress, format_cell, results_table, skill_text


class Clock:
    """A clock that is told the time."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


def train(terminal, steps=1000, chunk=10, seconds=0.5, width=100, **options):
    """Return what a training of `steps` prints, whose first chunk takes a minute and each other one `seconds`."""
    file, clock = io.StringIO(), Clock()
    console = Console(file=file, force_terminal=terminal, width=width, legacy_windows=False)
    start = options.get("start_step", 0)
    with TrainingProgress(console, steps, clock=clock, **options) as progress:
        for step in range(start + chunk, steps + 1, chunk):
            clock.now += seconds if step > start + chunk else 60.0
            progress.update(step, 2.0 / step, "normalised_loss", 1.0 + 1.0 / step)
    return file.getvalue()


def test_a_log_gets_a_plain_line_for_every_tenth():
    lines = train(terminal=False).splitlines()
    assert [re.search(r"([\d,]+)/1,000", line).group(1) for line in lines] == [
        "100", "200", "300", "400", "500", "600", "700", "800", "900", "1,000",
    ]  # fmt: skip
    # 10 steps in 0.5 s are 20 steps/s, the compilation's minute aside; 500 steps are left, 25 s.
    assert lines[4] == "training  500/1,000 (50%)  loss 0.0040  normalised 1 + 2.00e-3  20 steps/s  0:25 left"
    assert "\x1b" not in "".join(lines)


def test_many_runs_are_counted_in_run_steps():
    assert "320 run-steps/s  0:25 left" in train(terminal=False, n_runs=16)


def test_a_resumed_training_counts_only_its_own_steps():
    lines = train(terminal=False, start_step=500).splitlines()
    assert lines[0].startswith("training  600/1,000 (60%)")
    assert "20 steps/s" in lines[0]
    assert len(lines) == 5


def test_the_last_step_is_always_told_and_nan_is_shown():
    file = io.StringIO()
    with TrainingProgress(Console(file=file), 7, label="filters") as progress:
        progress.update(7, loss=float("nan"))
    assert file.getvalue() == "filters  7/7 (100%)  loss nan\n"


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("normalised_loss", "normalised 0.25"),
        ("accuracy", "accuracy 25.0%"),
        ("bits_per_roll", "bits per roll 0.2500"),
    ],
)
def test_a_family_s_own_figure_is_shown_as_its_mean_over_the_runs_that_are_well(name, told):
    file = io.StringIO()
    with PartsProgress(Console(file=file), 7, 3) as progress:
        progress.update(range(3), 7, [1.0, float("nan"), 3.0], name, [0.125, 0.375, float("nan")])
    assert file.getvalue() == f"training  7/7 (100%)  loss 2.0000  {told}\n"


def test_each_part_of_a_split_batch_of_runs_has_a_line_of_its_own():
    file = io.StringIO()
    with PartsProgress(Console(file=file), 7, 5) as progress:
        progress.update(range(3), 7, [1.0] * 3)
        progress.update(range(3, 5), 7, [2.0] * 2)
    assert file.getvalue().splitlines() == [
        "runs 0–2  7/7 (100%)  loss 1.0000",
        "runs 3–4  7/7 (100%)  loss 2.0000",
    ]


@pytest.mark.parametrize("width", [80, 100])
def test_a_terminal_gets_a_bar_with_all_figures(width):
    shown = train(terminal=True, steps=12000, chunk=2000, seconds=100.0, width=width, n_runs=6, label="filters")
    last = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown).replace("\r", "\n").strip().splitlines()[-1]
    word = "normalised" if width == 100 else "norm"
    assert last.startswith("filters ━━")
    assert f" 12000/12000 loss 0.0002  {word} 1 + 8.33e-5  120 run-steps/s  0:00 left" in last
    assert len(last) <= width


@pytest.mark.parametrize("width", [80, 100])
def test_a_table_of_results_fits_and_keeps_every_figure(width):
    columns = ["λ", "normalised loss", "skill", "structure", "rollout 2", "rollout 8", "rollout 32"]
    rows = [
        [0.9, "1.0002 ± 0.0001", 0.99812, "diagonal", 1.00023, 1.01, None],
        [0.5, "1.0 ± 0.1", None, "dense", 1.0, 2.0, np.float64(3)],
    ]
    file = io.StringIO()
    Console(file=file, width=width).print(results_table(columns, rows, "Filters [test]"))
    text = file.getvalue()
    assert max(len(line) for line in text.splitlines()) <= width
    for figure in ("Filters [test]", "1.0002 ± 0.0001", "0.99812", "1.0002", "diagonal", "–", " 3"):
        assert figure in text
    lines = [line for line in text.splitlines() if "dense" in line or "diagonal" in line]
    assert lines[0].index("1.0002 ± 0.0001") + 15 == lines[1].index("1.0 ± 0.1") + 9  # figures end together


def test_an_empty_cell_is_neither_a_word_nor_a_number():
    file = io.StringIO()
    Console(file=file, width=60).print(results_table(["t+2", "chosen"], [["1 + 3e-5", "←"], ["", ""], ["10", ""]]))
    shown = [line for line in file.getvalue().splitlines() if "1 + 3e-5" in line or "10" in line]
    assert shown[0].index("1 + 3e-5") + 8 == shown[1].index("10") + 2  # figures end together


@pytest.mark.parametrize("width", [80, 100, 120])
def test_a_table_that_is_too_wide_breaks_between_words(width):
    columns = ["λ", "predictor", "normalised loss", "memory", "t+2", "t+8", "t+32", "sequences to skill 0.9"]
    ahead = ["1 + 1.36e-3", "1 + 4.19e-4", "1 + 4.91e-5"]
    rows = [[0.8, "transformer", "1 + 2.37e-3 ± 3e-5", 4.8, *ahead, 2363], ["", "AR(16) fitted", "1", "", *ahead, ""]]
    file = io.StringIO()
    Console(file=file, width=width).print(results_table(columns, rows))
    lines = file.getvalue().splitlines()
    assert max(map(len, lines)) <= width
    words = [word for text in (*columns, *map(format_cell, (*rows[0], *rows[1]))) for word in text.split()]
    assert set(words) <= set(file.getvalue().split())
    whole = [line for line in lines if "1 + 1.36e-3" in line]
    assert len(whole) == (0 if width == 80 else 2)  # nothing breaks that need not


@pytest.mark.parametrize(
    ("cell", "text"),
    [(None, "–"), (True, "yes"), (1234567, "1,234,567"), (1.000234567, "1.0002"), (123456.7, "123,457"),
     (float("nan"), "nan"), (float("-inf"), "−∞"), ("words", "words"), (3e-7, "3e-07")],
)  # fmt: skip
def test_cells(cell, text):
    assert format_cell(cell) == text


@pytest.mark.parametrize(
    ("skill", "digits", "told"),
    [(0.98765, 3, "0.988"), (0.98765, 4, "0.9877"), (None, 3, "no headroom"), (np.float32("nan"), 3, "no headroom")],
)
def test_a_skill_is_told_also_where_there_is_none(skill, digits, told):
    assert skill_text(skill, digits) == told
