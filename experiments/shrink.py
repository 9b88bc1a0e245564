"""Makes the committed results small: run it before new ones are committed. Twice does no more than once.

    uv run python experiments/shrink.py

A page that bestguess writes holds its own style sheet, its own script and its own copy of Plotly, 2 MB. Here each moves
to a file that all pages with the same one share: page-HASH.css, page-HASH.js, plotly-VERSION.js. The pages still open
offline, from a clone or from a server. Figures (PNG) keep 256 colours, which is a third of the size.

Pages draw on Cartesian axes alone, so the bundle of Plotly for those, a third of the whole, can stand for it:

    npm pack plotly.js-cartesian-dist-min@4.1.1 && tar -xzf plotly.js-cartesian-dist-min-4.1.1.tgz
    uv run python experiments/shrink.py --plotly package/plotly-cartesian.min.js
"""

from __future__ import annotations

import argparse
import base64
import gzip
import hashlib
import io
import os
import re
from pathlib import Path

from PIL import Image

from bestguess.files import read_bytes, read_text, write_bytes, write_text

RESULTS = Path(__file__).parent / "results"
IMAGES = Path(__file__).parent.parent / "docs" / "images"
PLOTLY = re.compile(r'<script type="text/plain" id="plotly">([A-Za-z0-9+/=\s]*)</script>')
STYLE, SCRIPT = re.compile(r"<style>(.+?)</style>", re.DOTALL), re.compile(r"<script>(.+?)</script>", re.DOTALL)
# Scripts and styles of the page's own origin. A file's origin is itself alone, so files are named as well.
ALONE = "script-src 'unsafe-inline'; style-src 'unsafe-inline'"
SHARED = "script-src 'self' file: 'unsafe-inline'; style-src 'self' file: 'unsafe-inline'"
# What a page looks for is an element that holds Plotly, packed: the shared file makes it.
MAKE = (
    'document.currentScript.after(Object.assign(document.createElement("script"), '
    '{type: "text/plain", id: "plotly", textContent: "%s"}));\n'
)


def share_parts(page: Path, folder: Path) -> bool:
    """Move the style, the scripts and the Plotly that a page holds to the folder's files; return whether it held any.

    SystemExit: a page without the policy that bestguess writes.
    """

    def shared(name: str, content: str) -> str:
        """Return the address, from the page, of the folder's file of that content, which is made."""
        path = folder / name
        if not path.exists():
            write_text(path, content)
        return Path(os.path.relpath(path, page.parent)).as_posix()

    def plotly(found: re.Match[str]) -> str:
        name, content = pack_plotly(gzip.decompress(base64.b64decode(found[1])))
        return f'<script src="{shared(name, content)}"></script>'

    def style(found: re.Match[str]) -> str:
        return f'<link rel="stylesheet" href="{shared(f"page-{_hash(found[1])}.css", found[1])}">'

    def script(found: re.Match[str]) -> str:
        return f'<script src="{shared(f"page-{_hash(found[1])}.js", found[1])}"></script>'

    alone = text = read_text(page)
    for held, moved in ((PLOTLY, plotly), (STYLE, style), (SCRIPT, script)):
        text = held.sub(moved, text)
    if text == alone:
        return False
    if ALONE not in text:
        raise SystemExit(f"{page}: not a page that bestguess wrote")
    write_text(page, text.replace(ALONE, SHARED, 1))
    return True


def pack_plotly(script: bytes) -> tuple[str, str]:
    """Return the name and the content of the file by which pages share Plotly; SystemExit if it tells no version."""
    version = re.search(rb"plotly\.js (?:\([^)]*\) )?v([\w.]+)", script[:200])
    if not version:
        raise SystemExit("not a Plotly that tells its version")
    packed = base64.b64encode(gzip.compress(script, 9, mtime=0)).decode()
    return f"plotly-{version[1].decode()}.js", MAKE % packed


def _hash(content: str) -> str:
    return hashlib.sha256(content.encode()).hexdigest()[:8]


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
    smaller = [page for page in sorted(folder.rglob("*.html")) if share_parts(page, folder)]
    return smaller + [figure for figure in sorted(folder.rglob("*.png")) if fewer_colours(figure)]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Make committed results small: parts that pages share, 256 colours.")
    parser.add_argument("folders", nargs="*", type=Path, default=[RESULTS, IMAGES], help="default: %(default)s")
    parser.add_argument(
        "--plotly", type=Path, help="the Plotly that the pages of its version in the first folder share"
    )
    args = parser.parse_args()
    smaller = [path for folder in args.folders for path in shrink(folder)]
    if args.plotly:
        name, content = pack_plotly(read_bytes(args.plotly))
        smaller.append(write_text(args.folders[0] / name, content))
    print(*smaller, f"files made smaller: {len(smaller)}", sep="\n")
