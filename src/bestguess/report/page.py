"""A report as one HTML file that opens offline: text, tables, key figures and interactive charts.

Nothing is fetched: Plotly lies in the file, packed, and the file itself forbids the browser to ask
anyone for anything. Each chart also stands there as a still picture, for readers without a script.
"""

from __future__ import annotations

import base64
import gzip
import html
import json
import os
import re
from collections.abc import Sequence
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from bestguess import __version__
from bestguess.files import write_text
from bestguess.report.charts import Chart, Picture, describe, panels_of
from bestguess.report.compact import compact_figure, compact_svg
from bestguess.report.look import theme
from bestguess.report.progress import format_cell, is_figure
from bestguess.report.render import to_plotly, to_svg
from bestguess.report.story import Drawn, Rows, Section, Stat, Words

# Inline scripts and styles and embedded pictures; no address of any kind.
POLICY = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:"
FOOTER = f"<footer>Made by bestguess {__version__}.</footer>"
_SHORT = 14
"""Characters of a cell that is not broken."""
_SENTENCE = 24
"""Characters from which a column of words keeps a width for several of them in a line."""


class Page:
    """A report, put together from top to bottom, then written as one HTML file.

    Text is escaped everywhere. `text` and the lead understand a little Markdown: blank lines part
    paragraphs, lines that begin with "- " are a list, and `code`, **bold** and *italic* are what they look like.
    Nothing becomes a link: a page tells what files say, and they may be a stranger's.
    """

    def __init__(self, title: str, lead: str = "") -> None:
        self.title = title
        self._lead = lead
        self._parts: list[str] = []
        self._headings: list[tuple[str, str]] = []
        self._charts = 0

    def heading(self, text: str, level: int = 2) -> None:
        """Begin a section (level 2, listed in the contents) or a subsection (level 3)."""
        anchor = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-") or "section"
        anchor = f"{anchor}-{len(self._parts)}"
        if level == 2:
            self._headings.append((anchor, text))
        self._parts.append(f'<h{level} id="{anchor}">{html.escape(text)}</h{level}>')

    def text(self, text: str) -> None:
        """Add paragraphs and lists."""
        self._parts.append(_markdown(text))

    def stats(self, stats: Sequence[Stat]) -> None:
        """Add a row of key figures."""
        tiles = "".join(
            f'<div><dt>{html.escape(stat.label)}</dt><dd class="value">{html.escape(_cell(stat.value))}</dd>'
            + (f'<dd class="note">{html.escape(stat.note)}</dd>' if stat.note else "")
            + "</div>"
            for stat in stats
        )
        self._parts.append(f'<dl class="stats">{tiles}</dl>')

    def table(self, columns: Sequence[str], rows: Sequence[Sequence[Any]], caption: str = "") -> None:
        """Add a table: numbers to the right with five significant digits, None as a dash.

        A column with as many figures as words ("2,045" above "not reached") is one of figures. Figures and short words
        stay on one line.
        """
        cells = [[_cell(cell) for cell in row] for row in rows]
        kinds = [_kind([row[i] for row in rows], [row[i] for row in cells]) for i in range(len(columns))]
        kind = [f' class="{one}"' if one else "" for one in kinds]
        head = "".join(f'<th scope="col"{k}>{html.escape(column)}</th>' for k, column in zip(kind, columns))
        body = "".join(
            "<tr>" + "".join(f"<td{k}>{html.escape(cell)}</td>" for k, cell in zip(kind, row)) + "</tr>"
            for row in cells
        )
        told = f"<caption><span>{_inline(caption)}</span></caption>" if caption else ""
        self._parts.append(
            f'<div class="scroll"><table>{told}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
        )

    def chart(self, picture: Picture) -> None:
        """Add a chart or a grid of charts: interactive, with a still picture for readers without a script."""
        self._charts += 1
        drawn = to_plotly(picture)
        # The page has its own title, which wraps; without Plotly's less room is needed above.
        drawn.update_layout(title=None, margin_t=drawn.layout.margin.t - 40, height=drawn.layout.height - 40)
        still = base64.b64encode(compact_svg(to_svg(picture, titled=False))).decode()
        name = re.sub(r"[^a-z0-9]+", "-", picture.title.lower()).strip("-") or "chart"
        caption = f"<figcaption>{_inline(picture.caption)}</figcaption>" if picture.caption else ""
        square = " square" if isinstance(picture, Chart) and picture.equal_aspect else ""
        said = html.escape(describe(picture))
        exchange = html.escape(json.dumps(theme(panels_of(picture))))
        self._parts.append(
            f"<figure><header>{html.escape(picture.title)}</header>"
            f'<div class="plot{square}" role="group" aria-label="{said}" data-name="{name}" data-theme="{exchange}">'
            f'<img alt="{said}" src="data:image/svg+xml;base64,{still}"><div class="canvas" hidden></div>'
            f'<script type="application/json">{_json(drawn)}</script></div>{caption}</figure>'
        )

    def sections(self, sections: Sequence[Section]) -> None:
        """Add the sections of a story, each under its heading, if it has one."""
        for section in sections:
            if section.heading:
                self.heading(section.heading)
            for part in section.parts:
                match part:
                    case Words(text):
                        self.text(text)
                    case Rows(columns, rows, caption):
                        self.table(columns, rows, caption)
                    case Drawn(_, picture):
                        self.chart(picture)

    def details(self, summary: str, text: str) -> None:
        """Add text as it is, such as a config, folded away under its summary."""
        self._parts.append(
            f"<details><summary>{html.escape(summary)}</summary><pre><code>{html.escape(text)}</code></pre></details>"
        )

    def render(self) -> str:
        """Return the page as HTML: about 2 MB with charts, a few kB without."""
        contents = ""
        if len(self._headings) > 3:
            entries = "".join(f'<li><a href="#{a}">{html.escape(text)}</a></li>' for a, text in self._headings)
            contents = f'<nav aria-label="Contents"><ol>{entries}</ol></nav>'
        scripts = ""
        if self._charts:
            scripts = f'<script type="text/plain" id="plotly">{_plotly()}</script>'
            scripts += f"<script>{asset('page.js')}</script>"
        lead = f'<div class="lead">{_markdown(self._lead)}</div>' if self._lead else ""
        return document(
            self.title,
            f"<main><h1>{html.escape(self.title)}</h1>\n{lead}\n{contents}\n"
            + "\n".join(self._parts)
            + f"\n{FOOTER}</main>\n{scripts}",
        )

    def write(self, path: str | os.PathLike[str]) -> Path:
        """Write the page, whole or not at all, and return its path; its folder is made."""
        return write_text(path, self.render())


def _kind(column: Sequence[Any], texts: Sequence[str]) -> str:
    """Return what a column of cells holds, by what the style sheet calls it; "" for words of middling length."""
    column = [cell for cell in column if cell != ""]  # an empty cell is neither a word nor a number
    figures = sum(map(is_figure, column))
    if column and figures >= sum(cell is not None for cell in column) - figures:
        return "number"
    if all(len(text) <= _SHORT for text in texts):
        return "short"
    return "words" if any(len(text) >= _SENTENCE for text in texts) else ""


def _cell(cell: Any) -> str:
    """Return the text of a cell or of a key figure; the sign of a number is a minus, not a hyphen."""
    return re.sub(r"(?<![\w.-])-(?=[\d.])", "−", format_cell(cell))


def document(title: str, body: str, style: str = "") -> str:
    """Return an HTML file that may fetch nothing, in the look of a report.

    body, style: HTML and CSS as they are; the style comes after the report's own.
    """
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta name="generator" content="bestguess {__version__}"><link rel="icon" href="data:,">'
        f"<title>{html.escape(title)}</title><style>{asset('page.css')}{style}</style></head>\n"
        f"<body>{body}</body></html>\n"
    )


def asset(name: str, package: str = "bestguess.report") -> str:
    """Return the text of a file that comes with a package: a page's style or script."""
    return resources.files(package).joinpath(name).read_text(encoding="utf-8")


@cache
def _plotly() -> str:
    """Return Plotly's script, gzip in base64: 2 MB instead of 4.8. The same bytes every time."""
    from plotly.offline import get_plotlyjs

    return base64.b64encode(gzip.compress(get_plotlyjs().encode(), 9, mtime=0)).decode()


def _json(figure: Any) -> str:
    """Return a figure as JSON that cannot end its script element."""
    from plotly.io.json import to_json_plotly

    return compact_figure(to_json_plotly(figure))


def _markdown(text: str) -> str:
    blocks = []
    for block in re.split(r"\n\s*\n", text.strip()):
        lines = [line.strip() for line in block.splitlines()]
        while lines:
            listed = lines[0].startswith("- ")
            stop = next((i for i, line in enumerate(lines) if line.startswith("- ") != listed), len(lines))
            part, lines = lines[:stop], lines[stop:]
            if listed:
                blocks.append("<ul>" + "".join(f"<li>{_inline(line[2:])}</li>" for line in part) + "</ul>")
            else:
                blocks.append(f"<p>{_inline(' '.join(part))}</p>")
    return "".join(blocks)


def _inline(text: str) -> str:
    """Return one run of text as HTML. Escaped first: no mark below can bring back a tag."""
    pieces = re.split(r"(`[^`]+`)", text)
    for i, piece in enumerate(pieces):
        if i % 2:
            pieces[i] = f"<code>{html.escape(piece[1:-1])}</code>"
            continue
        piece = html.escape(piece)
        piece = re.sub(r"\*\*(\S(?:[^*]*\S)?)\*\*", r"<strong>\1</strong>", piece)
        pieces[i] = re.sub(r"(?<![*\w])\*(\S(?:[^*]*\S)?)\*(?![*\w])", r"<em>\1</em>", piece)
    return "".join(pieces)
