"""What an experiment leaves behind: verdicts.json, runs.csv, figures, a page, a README, and the YAML that it ran."""

from __future__ import annotations

import datetime
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from bestguess import __version__, files
from bestguess.command import UserError, load
from bestguess.experiment.analysis import Analysis, edges
from bestguess.experiment.covariates import covariates
from bestguess.experiment.pictures import effects, figure, findings
from bestguess.experiment.rollouts import rollouts
from bestguess.experiment.source import read_benchmark
from bestguess.experiment.statistics import Finding, Verdict
from bestguess.report.charts import Picture
from bestguess.report.page import Page
from bestguess.report.progress import format_cell, over_one
from bestguess.report.render import save_png
from bestguess.report.story import Drawn, Rows, Section, Stat, Words
from bestguess.sweep.plan import config_of
from bestguess.sweep.source import LISTS, VERDICTS, Source, write_table
from bestguess.train.folder import PAGE


def summary(analysis: Analysis, source: Source, command: str, told: str | None, benchmark: Path | None) -> dict:
    """Return what verdicts.json holds: the verdicts and what they rest on, the command, the device, the time."""
    seconds = sum(float(record["seconds"]) for record in analysis.records)
    return {
        "experiment": source.name,
        "question": analysis.experiment.question,
        "sweep": source.id,
        "command": command,
        "changes": list(source.changes),
        "constants": source.constants,
        "complete": told is None,
        "runs": len(analysis.records),
        "planned": source.planned,
        "verdicts": [verdict_dict(verdict) for verdict in analysis.verdicts],
        "grades": _names(analysis.grades),
        "grading": analysis.grades,
        "learning_rates": analysis.cells,
        "edges": edges(analysis) or None,
        "devices": sorted({record["device"] for record in analysis.records}),
        "worker_seconds": seconds,
        "worker_seconds_per_run": seconds / len(analysis.records),
        "pytorch": None if benchmark is None else pytorch(analysis, benchmark),
        "version": __version__,
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
    }


def _names(grading: dict[str, Any] | None) -> dict[str, Any] | None:
    """Easy, medium and hard, where the levels are in order."""
    if grading is None or not grading["ordered"]:
        return None
    return {name: grading[name] for name in ("easy", "medium", "hard")}


def verdict_dict(verdict: Verdict) -> dict[str, Any]:
    """Return a verdict as plain values; effect and interval are those of its main measure, all stand in `measures`."""
    main = verdict.main
    return {
        "hypothesis": verdict.hypothesis,
        "claim": verdict.claim,
        "verdict": verdict.verdict,
        "effect": None if main.estimate is None else main.estimate.effect,
        "interval": None if main.estimate is None else list(main.estimate.interval),
        "measure": main.measure,
        "unit": main.unit,
        "scales": [_finding(one) for one in verdict.scales],
        "notes": list(verdict.notes),
        "measures": [_finding(one) for one in verdict.findings],
    }


def _finding(one: Finding) -> dict[str, Any]:
    found = one.estimate
    return {
        "measure": one.measure,
        "decides": one.decides,
        "verdict": one.verdict,
        "effect": None if found is None else found.effect,
        "interval": None if found is None else list(found.interval),
        "unit": one.unit,
        "p": None if found is None else found.p,
        "by_seed": {str(seed): value for seed, value in one.by_seed.items()},
        "notes": list(one.notes),
        **({} if one.p_adjusted is None else {"p_adjusted": one.p_adjusted}),
        **({} if one.margin is None else {"margin": one.margin}),
    }


def pytorch(analysis: Analysis, benchmark: Path) -> dict[str, Any]:
    """Return what training the same runs one at a time would take at the benchmark's best PyTorch rate (seconds).

    Training steps alone: no compilation, no validation, no evaluation. Runs whose step has the benchmarked
    operations are at the measured rate; those of the others are scaled by operations, which is an estimate,
    as everything is where the runs were trained on another device (`same_device`).
    """
    best, rate, work, device = read_benchmark(benchmark)
    if analysis.experiment.operations is None:
        raise UserError(f"--benchmark: the experiment {analysis.experiment.title!r} does not count its operations")
    alike = other = 0.0
    count = 0
    for record in analysis.records:
        operations, steps = analysis.experiment.operations(config_of(record["config"])[1])
        if abs(operations / work - 1) < 1e-9:
            alike += steps / rate
            count += 1
        else:
            other += steps / rate * operations / work
    return {
        "variant": best,
        "device": device,
        "same_device": {record["device"] for record in analysis.records} == {f"1 × {device}"},
        "steps_per_second": rate,
        "runs_of_its_shape": count,
        "seconds_of_its_shape": alike,
        "other_runs": len(analysis.records) - count,
        "seconds_of_others_by_operations": other,
    }


def write(folder: Path, analysis: Analysis, source: Source, found: dict[str, Any], told: str | None) -> Path:
    """Write the folder of results and return the path of its page."""
    write_table(folder, source, [factor.key for factor in analysis.experiment.factors], analysis.selected)
    own = {
        "figure": figure(analysis, told),
        "effects": effects(analysis, told),
        "rollouts": rollouts(analysis, told),
        "covariates": covariates(analysis, told),
    }
    sections = more(analysis, source.whole)
    drawn = {part.name: part.picture for section in sections for part in section.parts if isinstance(part, Drawn)}
    for name, picture in (own | drawn).items():
        if picture is not None:
            save_png(picture, folder / f"{name}.png", dpi=150)
    files.write_json(folder / VERDICTS, found)
    files.write_text(folder / "README.md", _readme(analysis, found, told, sections, own["covariates"] is not None))
    page = _page(analysis, found, told, [one for one in own.values() if one is not None], sections)
    page.details("sweep.yaml: the question, the hypotheses and the rule, and the runs", source.asked)
    return page.write(folder / PAGE)


def _page(
    analysis: Analysis, found: dict[str, Any], told: str | None, pictures: list[Picture], sections: Sequence[Section]
) -> Page:
    """Return the page of an experiment: verdicts, pictures, the experiment's own sections, effects, rates, costs."""
    page = Page(analysis.experiment.title, _lead(analysis, found, told))
    page.stats([Stat(one["verdict"], one["hypothesis"], one["claim"]) for one in found["verdicts"]])
    page.heading("Verdicts")
    page.table(*verdict_table(analysis), "Effect of the main measure, with its 95 % interval over seeds")
    for verdict in analysis.verdicts:
        if verdict.notes:
            page.text(f"- **{verdict.hypothesis}**: {'; '.join(verdict.notes)}.")
    page.text(_told_grades(found))
    page.heading("Figures")
    for picture in pictures:
        page.chart(picture)
    page.sections(sections)
    page.heading("Effects in every measure")
    page.text(
        "The rule of the verdicts stands in the sweep's own file, below. Effects are paired: each seed is trained in "
        "every cell and gives one effect; the interval is Student's t over seeds, of a proportion the exact one. A "
        "hypothesis that several measures decide has the verdict that all of them share, and is inconclusive where "
        "they differ; of one measure on two scales, it depends on the scale. p of measures that do not decide is after "
        "Holm's correction over them."
    )
    page.table(*_effect_table(analysis))
    page.heading("Learning rates")
    page.text(
        "In each cell the rate with the lowest mean validation loss over seeds; every other figure here is from test "
        f"data, or from that rate's curve. {edges(analysis)}"
    )
    page.table(*_rate_table(analysis))
    page.heading("How this was made")
    page.text(f"- `{found['command']}`\n- " + "\n- ".join(_costs(found)))
    return page


def more(analysis: Analysis, whole: bool = True) -> Sequence[Section]:
    """Return the sections that the experiment adds to its page, of all runs with their cell's learning rate.

    whole: whether the records have their long lists. Without them there may be no such sections; the page says so.
    """
    if analysis.experiment.more is None:
        return ()
    selected = analysis.selected
    records = [one | {"made": selected[one["run"]]} for one in analysis.records if one["run"] in selected]
    try:
        return load(analysis.experiment.more)(records)
    except (LookupError, TypeError):
        if whole:
            raise
        return [Section("Not shown", [Words(f"Other tables and curves need {LISTS}, which this table of runs lacks.")])]


def _lead(analysis: Analysis, found: dict[str, Any], told: str | None) -> str:
    lead = (
        f"{analysis.experiment.question} {found['runs']:,} runs on {', '.join(found['devices'])}; "
        f"sweep {found['sweep']}."
    )
    return lead if told is None else f"{lead}\n\n**{told[0].upper()}{told[1:]}.** These verdicts may change."


def _interval(one: Finding) -> str:
    if one.estimate is None:
        return "–"
    low, high = one.estimate.interval
    return f"{format_cell(_three(low))} … {format_cell(_three(high))}"


def _three(value: float) -> float:
    return float(f"{value:.3g}")


def verdict_table(analysis: Analysis) -> tuple[list[str], list[list[Any]]]:
    """Return columns and rows of the verdicts, each with its main measure's effect; of logarithms as a ratio, too."""
    labels = {measure.name: measure.label for measure in analysis.experiment.measures}
    several = any(verdict.scales for verdict in analysis.verdicts)
    ratios = any(verdict.main.unit == "ln" for verdict in analysis.verdicts)
    table = []
    for verdict in analysis.verdicts:
        main = verdict.main
        effect = None if main.estimate is None else _three(main.estimate.effect)
        table.append(
            [
                verdict.hypothesis,
                verdict.claim,
                verdict.verdict,
                effect,
                _interval(main),
                main.unit,
                *([_ratio(main)] if ratios else []),
                labels[main.measure],
                *(["; ".join(_on_scale(one, labels) for one in verdict.scales)] if several else []),
            ]
        )
    columns = ["", "hypothesis", "verdict", "effect", "95 % interval", "unit", *["ratio"][:ratios], "measure"]
    return [*columns, *(["on the other scale"] if several else [])], table


def _ratio(one: Finding) -> str:
    """A difference of logarithms as the ratio that it is, with its interval; "" of any other effect."""
    if one.estimate is None or one.unit != "ln":
        return ""
    ratio, low, high = (f"{math.exp(x):.4g}" for x in (one.estimate.effect, *one.estimate.interval))
    return f"{ratio} ({low} … {high})"


def _on_scale(one: Finding, labels: dict[str, str]) -> str:
    if one.estimate is not None:
        effect = f"{_three(one.estimate.effect):g} ({_interval(one)})"
    else:
        effect = one.notes[-1].partition(":")[0] if one.notes else "not recorded"
    return f"{labels[one.measure]}: {effect}"


def _effect_table(analysis: Analysis) -> tuple[list[str], list[list[Any]]]:
    table = []
    for verdict, measure, one in findings(analysis):
        effect = None if one.estimate is None else _three(one.estimate.effect)
        p = None if one.estimate is None else _three(one.p_adjusted if one.p_adjusted is not None else one.estimate.p)
        notes = "; ".join(one.notes)
        if one.margin is not None:
            notes = "; ".join(filter(None, [f"no difference: within ± {_three(one.margin):g}", notes]))
        table.append(
            [
                verdict.hypothesis,
                measure.label,
                effect,
                _interval(one),
                one.unit,
                p,
                (one.verdict or "no verdict") if one.decides else "shown only",
                len(one.by_seed),
                notes,
            ]
        )
    columns = ["", "measure", "effect", "95 % interval", "unit", "p", "verdict", "seeds", "notes"]
    if not any(row[-1] for row in table):
        return columns[:-1], [row[:-1] for row in table]
    return columns, table


def _rate_table(analysis: Analysis) -> tuple[list[str], list[list[Any]]]:
    factors = analysis.experiment.factors
    table = []
    for cell in analysis.cells:
        own = [str(cell["config"][factor.key]) for factor in factors]
        rate = "the config's" if cell["learning_rate"] is None else f"{cell['learning_rate']:g}"
        rate += " (edge)" if cell["edge"] else ""
        reported = [key for key in cell if key not in CELL_KEYS]
        told = [over_one(cell[key]) if key == "normalised_loss" else f"{cell[key]:.6g}" for key in reported]
        table.append([*own, rate, *told, cell["seeds"]])
    reported = [key.replace("_", " ") for key in analysis.cells[0] if key not in CELL_KEYS]
    return [*(factor.name for factor in factors), "learning rate", *reported, "seeds"], table


CELL_KEYS = ("config", "learning_rate", "edge", "standard_error_over_seeds", "seeds")


def _told_grades(found: dict[str, Any]) -> str:
    if found["grades"] is None:
        if (grading := found["grading"]) is None:
            return ""
        levels = [f"{one['level']}: {one['mean']:.3g} ({_range(one['interval'])})" for one in grading["levels"]]
        return f"No easy, medium and hard: the levels are in no order by {grading['label']} ({'; '.join(levels)})."
    return "For later use: " + ", ".join(f"**{name}** {level}" for name, level in found["grades"].items()) + "."


def _range(interval: Sequence[float] | None) -> str:
    return "–" if interval is None else f"{interval[0]:.3g} … {interval[1]:.3g}"


def _costs(found: dict[str, Any]) -> list[str]:
    """What the runs took, and what they would take in PyTorch, line by line."""
    lines = [
        f"{found['worker_seconds']:,.0f} s of workers' time on {', '.join(found['devices'])} for {found['runs']:,} "
        f"runs, {found['worker_seconds_per_run']:.1f} s a run, its evaluation included; workers that shared a "
        f"device count in full each. bestguess {found['version']}, {found['date']}."
    ]
    other = found["pytorch"]
    if other is not None:
        parts = []
        if count := other["runs_of_its_shape"]:
            parts.append(f"{other['seconds_of_its_shape']:,.0f} s for the {count:,} runs of its shape")
        if count := other["other_runs"]:
            parts.append(
                f"an estimated {other['seconds_of_others_by_operations']:,.0f} s for the {count:,} runs of other "
                "shapes, scaled by floating-point operations"
            )
        lines.append(
            f"One at a time with the best PyTorch of the benchmark ({other['variant']}, "
            f"{other['steps_per_second']:.0f} steps/s on {other['device']}), the training steps alone (no compilation, "
            f"validation or evaluation) would take {' and '.join(parts)}."
            + ("" if other["same_device"] else " The runs were trained on another device, so this is an estimate.")
        )
    return lines


def _told_sections(sections: Sequence[Section]) -> Iterator[str]:
    for section in sections:
        yield f"## {section.heading}"
        for part in section.parts:
            match part:
                case Words(text):
                    yield text
                case Rows(columns, table, caption):
                    yield _markdown_table(columns, table) + f"\n\n{caption}"
                case Drawn(name, _):
                    yield f"![{section.heading}]({name}.png)"


def _markdown_table(columns: Sequence[str], table: Sequence[Sequence[Any]]) -> str:
    head = "| " + " | ".join(columns) + " |\n" + "|" + "---|" * len(columns) + "\n"
    return (head + "".join("| " + " | ".join(format_cell(cell) for cell in row) + " |\n" for row in table)).rstrip()


def _readme(
    analysis: Analysis, found: dict[str, Any], told: str | None, sections: Sequence[Section], covers: bool
) -> str:
    """covers: whether there is a picture of the covariates."""
    columns, table = verdict_table(analysis)
    notes = [f"{v.hypothesis}: {note}." for v in analysis.verdicts for note in v.notes]
    parts = [
        f"# {analysis.experiment.title}",
        _lead(analysis, found, told),
        _markdown_table(columns, table),
        _told_grades(found),
        "\n".join(f"- {line}" for line in [*notes, *filter(None, [found["edges"]])]),
        "![The measures by factor](figure.png)",
        "![The effects with their intervals](effects.png)",
        "![The primary measure by what else differs between the tasks](covariates.png)" if covers else "",
        *_told_sections(sections),
        f"```\n{found['command']}\n```",
        "\n".join(f"- {line}" for line in _costs(found)),
        "`report.html` is the interactive page, `runs.csv` has a row for every run, `verdicts.json` every effect, "
        "`sweep.yaml` the hypotheses and the rule, written before any run.",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"
