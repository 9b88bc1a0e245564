"""Makes the committed results small: run it before new ones are committed. Twice does no more than once.

    uv run python experiments/shrink.py

A page that bestguess writes holds its own copy of Plotly, 2 MB. Here that copy moves to one file, plotly-VERSION.js,
which all pages of the same version share: they still open offline, from a clone or from a server. Figures (PNG) keep
256 colours, which is a third of the size.
"""

from __future__ import annotations

import argparse
import base64
import gzip
import io
import os
import re
from pathlib import Path

from PIL import Image

from bestguess.files import read_bytes, read_text, write_bytes, write_text

RESULTS = Path(__file__).parent / "results"
IMAGES = Path(__file__).parent.parent / "docs" / "images"
INLINED = re.compile(r'<script type="text/plain" id="plotly">([A-Za-z0-9+/=\s]*)</script>')
# Scripts of the page's own origin. A file's origin is itself alone, so files are named as well.
ALONE, SHARED = "script-src 'unsafe-inline'", "script-src 'self' file: 'unsafe-inline'"
# What a page looks for is an element that holds Plotly, packed: the shared file makes it.
MAKE = (
    'document.currentScript.after(Object.assign(document.createElement("script"), '
    '{type: "text/plain", id: "plotly", textContent: "%s"}));\n'
)


def share_plotly(page: Path, folder: Path) -> bool:
    """Move the Plotly that a page holds to the folder's file of that version; return whether it held one."""
    text = read_text(page)
    found = INLINED.search(text)
    if not found:
        return False
    packed = "".join(found[1].split())
    version = re.search(r"plotly\.js v([\w.]+)", gzip.decompress(base64.b64decode(packed))[:200].decode())
    if not version or ALONE not in text:
        raise SystemExit(f"{page}: not a page that bestguess wrote")
    script = folder / f"plotly-{version[1]}.js"
    if not script.exists():
        write_text(script, MAKE % packed)
    address = Path(os.path.relpath(script, page.parent)).as_posix()
    text = text[: found.start()] + f'<script src="{address}"></script>' + text[found.end() :]
    write_text(page, text.replace(ALONE, SHARED, 1))
    return True


def fewer_colours(figure: Path) -> bool:
    """Write a PNG again with 256 colours; return whether it had more."""
    data = read_bytes(figure)
    with Image.open(io.BytesIO(data)) as image:
        if image.mode == "P":
            return False
        few = image.convert("RGB").quantize(256, dither=Image.Dither.NONE)
    written = io.BytesIO()
    few.save(written, "png", optimize=True)
    write_bytes(figure, written.getvalue())
    return True


def shrink(folder: Path) -> list[Path]:
    """Make a folder of results small and return the files that were written again."""
    smaller = [page for page in sorted(folder.rglob("*.html")) if share_plotly(page, folder)]
    return smaller + [figure for figure in sorted(folder.rglob("*.png")) if fewer_colours(figure)]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Make committed results small: one Plotly for all, 256 colours.")
    parser.add_argument("folders", nargs="*", type=Path, default=[RESULTS, IMAGES], help="default: %(default)s")
    smaller = [path for folder in parser.parse_args().folders for path in shrink(folder)]
    print(*smaller, f"files made smaller: {len(smaller)}", sep="\n")
