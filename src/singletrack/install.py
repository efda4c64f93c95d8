"""What a message names where something is missing: the command that adds an extra, and the page that explains it.

pip notes where a package came from (direct_url.json, PEP 610): a clone, a wheel, a repository, or nothing for PyPI.
"""

from __future__ import annotations

import importlib.metadata
import json
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

DOCS = "https://singletrack.github.io/singletrack"  # as in pyproject.toml and mkdocs.yml


def docs_page(name: str) -> str:
    """The address of a page of the documentation: "engines" for docs/engines.md."""
    return f"{DOCS}/{name}/"


@cache
def install_command(extra: str) -> str:
    """A command line that works in this environment: ``pip install "/home/me/singletrack[train]"``."""
    try:
        text = importlib.metadata.distribution("singletrack").read_text("direct_url.json")
        origin: dict[str, Any] = json.loads(text) if text else {}
    except importlib.metadata.PackageNotFoundError:  # run from its source without having been installed
        root = Path(__file__).resolve().parents[2]
        origin = {"url": root.as_uri()} if (root / "pyproject.toml").is_file() else {}
    return command_for(origin, extra)


def command_for(origin: dict[str, Any], extra: str) -> str:
    """Build the command from the contents of a direct_url.json; {} for PyPI."""
    url = str(origin.get("url", ""))
    if "vcs_info" in origin:
        vcs = origin["vcs_info"]
        revision = f"@{vcs['requested_revision']}" if "requested_revision" in vcs else ""
        return f'pip install "singletrack[{extra}] @ {vcs["vcs"]}+{url}{revision}"'
    if url.startswith("file:"):
        path = url2pathname(urlsplit(url).path)
        if Path(path).exists():
            editable = "--editable " if origin.get("dir_info", {}).get("editable") else ""
            return f'pip install {editable}"{path}[{extra}]"'
    return f'pip install "singletrack[{extra}]"'
