"""Pages of the site that are written elsewhere: files of the repository, and the help of every command."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import click
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parent.parent
SOURCE = "https://github.com/singletrack/singletrack/blob/main/"

PAGES = {  # file of the repository -> page of the site
    "README.md": "index.md",
    "BENCHMARKS.md": "benchmarks.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "src/singletrack/weights/ostrack-tiny.md": "ostrack-tiny.md",
    "src/singletrack/weights/ostrack-nano.md": "ostrack-nano.md",
    "src/singletrack/weights/ostrack-small.md": "ostrack-small.md",
}
LINK = re.compile(r"\]\(([^)#\s]+)(#[^)\s]*)?\)")


def on_files(files: Files, config: Any) -> Files:
    for path, page in PAGES.items():
        files.append(File.generated(config, page, content=(ROOT / path).read_text(encoding="utf-8")))
    files.append(File.generated(config, "reference/commands.md", content=commands()))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Make every link to a file of the repository one to its page, or to the repository."""
    source = next((path for path, name in PAGES.items() if name == page.file.src_uri), f"docs/{page.file.src_uri}")
    depth = page.file.src_uri.count("/")

    def relink(match: re.Match[str]) -> str:
        target, anchor = match.group(1), match.group(2) or ""
        if "://" in target or target.startswith("mailto:"):
            return match.group(0)
        absolute = (ROOT / source).parent.joinpath(target).resolve()
        if not absolute.is_relative_to(ROOT):
            return match.group(0)
        path = absolute.relative_to(ROOT).as_posix()
        if path in PAGES or path.startswith("docs/"):
            return f"]({'../' * depth}{PAGES.get(path, path.removeprefix('docs/'))}{anchor})"
        return f"]({SOURCE}{path}{anchor})"

    return LINK.sub(relink, markdown)


def commands() -> str:
    """The help of each command, as a terminal of 100 columns shows it."""
    from singletrack.cli.main import singletrack

    parts = ["# Commands\n\n`singletrack COMMAND --help` prints the same."]

    def add(command: click.Command, name: str, parent: click.Context | None) -> None:
        context = click.Context(command, info_name=name, parent=parent, max_content_width=100, terminal_width=100)
        title = context.command_path
        if parent is not None:
            parts.append(f"## {title}\n\n```text\n{command.get_help(context)}\n```")
        if isinstance(command, click.Group):
            for each in command.list_commands(context):
                inner = command.get_command(context, each)
                assert inner is not None
                add(inner, each, context)

    add(singletrack, "singletrack", None)
    return "\n\n".join(parts) + "\n"
