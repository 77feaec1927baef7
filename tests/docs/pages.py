"""The guides as tests read them: pages, their code blocks, links, tables and command lines."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.house.files import TOP

CODE = re.compile(r"^( *)```([^\n]*)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
SPAN = re.compile(r"`([^`\n]+(?:\n[^`\n]+)?)`")
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
LINK = re.compile(r"\[[^\]\n]*(?:\n[^\]\n]*)?\]\(([^)\s]+)\)")


def pages() -> list[Path]:
    """All Markdown of the project, for people to read."""
    folders = ("", "docs/", "examples/", "sql/", "tests/")
    return [path for folder in folders for path in sorted(TOP.glob(f"{folder}*.md"))]


def page(name: str) -> str:
    return (TOP / name).read_text("utf-8")


@dataclass(frozen=True, slots=True)
class Block:
    """A code block. ``info`` is what stands behind its three backticks."""

    info: str
    text: str


def blocks(text: str, info: str | None = None) -> list[Block]:
    """The code blocks of a page, all or those of one kind."""
    found = []
    for match in CODE.finditer(text):
        indent = len(match[1])
        lines = [line[indent:] for line in match[3].splitlines()]
        found.append(Block(match[2].strip(), "\n".join(lines) + "\n"))
    return [block for block in found if info is None or block.info == info]


def prose(text: str) -> str:
    """A page without its code blocks."""
    return CODE.sub("", text)


def console(text: str) -> list[list[str]]:
    """Command lines of a page, each as its arguments, as a shell would split it."""
    lines: list[list[str]] = []
    for block in blocks(text, "console"):
        joined = block.text.replace("\\\n", " ")
        for line in joined.splitlines():
            if line.startswith("$ "):
                lines += _split(line[2:])
    return lines


def _split(line: str) -> Iterator[list[str]]:
    words: list[str] = []
    for word in shlex.split(line, comments=True):
        if word == "&&":
            yield words
            words = []
        elif word != "&" and (words or not re.match(r"[A-Z_]+=", word)):
            words.append(word)
    yield words


def mentioned(text: str) -> list[list[str]]:
    """Commands named in running text: `cdc triggers plan`."""
    found = []
    for span in SPAN.findall(text):
        words = span.split()
        if len(words) > 1 and words[0] == "cdc":
            found.append([word.strip("'\"") for word in words[1:]])
    return found


def tables(text: str) -> list[list[dict[str, str]]]:
    """Tables as rows by heading; cells as they are written."""
    found: list[list[dict[str, str]]] = []
    heads: list[str] | None = None
    for line in prose(text).splitlines():
        if not line.startswith("|"):
            heads = None
            continue
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if heads is None:
            heads = cells
            found.append([])
        elif set(line) - set("|- "):
            found[-1].append(dict(zip(heads, cells, strict=True)))
    return found


def table(text: str, *heads: str) -> list[dict[str, str]]:
    """The one table of a page that has these headings."""
    (found,) = [rows for rows in tables(text) if rows and set(heads) <= set(rows[0])]
    return found


def codes(cell: str) -> list[str]:
    """What stands between backticks in a cell."""
    return re.findall(r"`([^`]+)`", cell)


def anchors(text: str) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    return {
        re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        for heading in HEADING.findall(prose(text))
    }
