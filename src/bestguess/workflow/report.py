"""The page of a training: the family says what stands on it, this file writes it and its figures."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bestguess import files
from bestguess.report.page import Page
from bestguess.report.render import save_figures
from bestguess.report.story import Stat, Story
from bestguess.train.folder import CONFIG, FIGURES, PAGE, read_timing
from bestguess.workflow.training import SETTINGS, Training


def write_report(training: Training, results: Mapping[str, Any]) -> Path:
    """Write report.html and figures/ from a training and its results by part; return the page's path."""
    story = training.works.story(training, results)
    folder = training.folder
    for one in story.pictures():
        save_figures(one.picture, folder / FIGURES, one.name)
    page = make_page(story, read_timing(folder))
    for line in [*evaluated_otherwise(results), *ended_early(training)]:
        page.text(line)
    page.details("config.yaml", files.read_text(folder / CONFIG))
    return page.write(folder / PAGE)


def evaluated_otherwise(results: Mapping[str, Any]) -> list[str]:
    """Return a sentence for each part that was evaluated with other settings than those of config.yaml."""
    given = {part: found[SETTINGS] for part, found in results.items() if found.get(SETTINGS)}
    return [
        f"{part.capitalize()} with other settings than those of config.yaml below: "
        f"{', '.join(f'{key} {value}' for key, value in settings.items())}."
        for part, settings in given.items()
    ]


def ended_early(training: Training) -> list[str]:
    """Return a sentence for the runs that stopped before their last step, with why; none where none did."""
    named: dict[str, list[str]] = {}
    for run, step, fault in zip(training.runs, training.stopped_steps(), training.learnt.fault_step):
        if step is None:
            continue
        patience = training.config.patience
        why = f"no improvement in {patience} validations" if fault < 0 else "the loss was not finite"
        named.setdefault(why, []).append(f"{run.label(training.runs)} at step {step if fault < 0 else int(fault):,}")
    return [f"Stopped early, {why}: {'; '.join(runs)}." for why, runs in named.items()]


def make_page(story: Story, timing: Mapping[str, Any] | None = None) -> Page:
    """Return the page that tells a story; timing: of its training, as training.json has it."""
    page = Page(story.title, story.lead)
    stats = list(story.stats)
    if timing:
        note = f"{timing['seconds']:.0f} s on {timing['device']}"
        stats.append(Stat(f"{timing['run_steps_per_second']:,.0f}", "run-steps per second", note))
    page.stats(stats)
    page.sections(story.sections)
    return page
