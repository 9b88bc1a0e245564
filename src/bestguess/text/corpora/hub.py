"""Data sets of the Hugging Face Hub, through `datasets` (the extra `text-hub`)."""

from __future__ import annotations

import os
import re
import ssl
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from typing import Any

from bestguess.command import Absent, UserError, with_extra
from bestguess.text.corpora.documents import Documents
from bestguess.text.corpora.fields import Fields
from bestguess.text.corpora.options import ReadingOptions
from bestguess.text.corpora.parts import part_of_name
from bestguess.text.corpora.reading import gather

KNOWN = {"samsum": "knkarthick/samsum", "tiny-textbooks": "nampdn-ai/tiny-textbooks"}
"""Short names. The original of SAMSum is packed in a way that `datasets` no longer reads."""
_NAME = re.compile(r"[\w.-]+(/[\w.-]+)?(:[\w.-]+)?\Z", re.ASCII)
_SECONDS = 5
"""How long the Hub may take to answer before it counts as out of reach."""


def is_hub_name(name: str) -> bool:
    """Return whether a text can be the name of a data set, `owner/name` or `name`, with `:CONFIGURATION` or not."""
    return _NAME.match(name) is not None and not name.startswith(".")


def read_hub(name: str, options: ReadingOptions) -> dict[str, Documents]:
    """Return the documents of a data set by part: train, validation and test, or one part with an empty name.

    With `max_documents` it is streamed, else downloaded and kept in the cache of `datasets`. Raises UserError, in one
    line, without the extra, without a network, for an unknown data set and for one that has no data files.
    """
    path, _, configuration = name.partition(":")
    path = KNOWN.get(path, path)
    loaded = _load(path, configuration, streaming=bool(options.max_documents))
    by_part = _by_part(name, list(loaded), options)
    fields = Fields(options)
    read = {}
    for part, given in by_part.items():
        try:
            read[part] = gather(_records(name, loaded, given), fields, options.max_documents)
        except UserError:
            raise
        except Exception as error:  # streaming fails as late as here, in many ways
            raise Absent(_said(path, error)) from error
    if not any(map(len, read.values())):
        raise UserError(f"--corpus {name}: no document in it; give another")
    return read


def _by_part(name: str, given: list[str], options: ReadingOptions) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for one in given:
        found.setdefault(part_of_name(one), []).append(one)
    whole = "train" in found and len(found.keys() - {""}) > 1
    if options.splits == "given" and not whole:
        raise UserError(f"--splits given: {name} has the parts {', '.join(given)} alone; give --splits hash")
    if options.splits in ("auto", "given") and whole:
        found.pop("", None)  # such as `unsupervised`
        return found
    return {"": given}


def _records(name: str, loaded: Mapping[str, Any], parts: list[str]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for part in parts:
        for record in loaded[part]:
            yield part, f"{name}, part {part}", record


def _load(path: str, configuration: str, streaming: bool) -> Mapping[str, Any]:
    if "datasets" not in sys.modules and not _reachable():
        # Before the import: the library reads it then, and else tries for half a minute. Its cache is still used.
        os.environ["HF_HUB_OFFLINE"] = "1"
    try:
        import datasets
    except ImportError:
        raise Absent(
            f"--corpus {path}: no such file or folder, and reading it from the Hugging Face Hub needs datasets; "
            + with_extra("text-hub", "datasets")
        ) from None
    try:
        return datasets.load_dataset(path, configuration or None, streaming=streaming)
    except Exception as error:  # the library, and those below it, raise many kinds
        raise Absent(_said(path, error)) from error


def _reachable() -> bool:
    """Whether the Hub answers at all, by way of the system's proxy where there is one."""
    where = os.environ.get("HF_ENDPOINT", "https://huggingface.co")
    try:
        urllib.request.urlopen(urllib.request.Request(where, method="HEAD"), timeout=_SECONDS).close()
    except urllib.error.HTTPError:
        return True
    except urllib.error.URLError as error:
        return isinstance(error.reason, ssl.SSLError)  # the library has certificates of its own
    except (OSError, ValueError):
        return False
    return True


def _said(path: str, error: Exception) -> str:
    """What an error of the library means, in one line."""
    kinds = {one.__name__ for one in type(error).__mro__}
    reason = " ".join(str(error).split())
    if "scripts are no longer supported" in reason or "DataFilesNotFoundError" in kinds:
        return (
            f"--corpus {path}: has a program in place of data files, which `datasets` no longer runs; give a copy in "
            f"Parquet or JSON{', such as knkarthick/samsum' if 'samsum' in path.lower() else ''}, or a local folder"
        )
    if "gated" in reason or kinds & {"GatedRepoError"}:
        return (
            f"--corpus {path}: is given to users who agreed to its terms; agree at "
            f"https://huggingface.co/datasets/{path} and log in with `hf auth login`"
        )
    if "Config name is missing" in reason or "BuilderConfig" in reason:
        return f"--corpus {path}: {reason[:300]}; give --corpus {path}:CONFIGURATION"
    if "DatasetNotFoundError" in kinds:
        return f"--corpus {path}: no such file or folder, and no such data set on the Hugging Face Hub"
    if kinds & {"ConnectionError", "OfflineModeIsEnabled", "LocalEntryNotFoundError", "TimeoutError", "ConnectError"}:
        return (
            f"--corpus {path}: no such file or folder, and the Hugging Face Hub cannot be reached; check the network, "
            "or give a local file"
        )
    return f"--corpus {path}: cannot be read from the Hugging Face Hub ({type(error).__name__}: {reason[:200]})"
