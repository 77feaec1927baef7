"""Tables for where they are read: a narrow terminal, or a program behind a pipe."""

from __future__ import annotations

from collections.abc import Iterator

from rich.cells import cell_len
from rich.console import Group, RenderableType
from rich.table import Column, Table
from rich.text import Text

from cdc.guides import located

LONGEST_WORD = 20
"""Longer ones (addresses, ids) may be broken, no others."""
BETWEEN = 2
"""Blanks between two columns."""


def least(column: Column) -> int:
    """The width in which no word of a column is broken, nor a number."""
    texts = [_plain(column.header), *map(_plain, column.cells)]
    if column.no_wrap:
        return max(map(cell_len, texts))
    return max(min(cell_len(word), LONGEST_WORD) for text in texts for word in text.split() or [""])


def fitted(made: RenderableType, width: int) -> RenderableType:
    """The same, where a table would break words: its rows one below the other, a line a cell."""
    if isinstance(made, Group):
        return Group(*(fitted(part, width) for part in made.renderables))
    if not isinstance(made, Table) or not made.show_header:
        return made
    wanted = [least(column) for column in made.columns]
    if sum(wanted) + BETWEEN * (len(wanted) - 1) <= width:
        for column, chars in zip(made.columns, wanted, strict=True):
            column.min_width = chars
        return made
    return _stacked(made)


def advice(mark: Text, text: Text, todo: str = "") -> Table:
    """A finding, and below it what to do; both next to a mark."""
    made = Table.grid(padding=(0, BETWEEN))
    made.add_column()
    made.add_column(overflow="fold")
    made.add_row(mark, text)
    if todo:
        made.add_row("", Text(f"-> {located(todo)}"))
    return made


def _stacked(made: Table) -> Table:
    grid = Table.grid(padding=(0, BETWEEN))
    grid.add_column(style="bold")
    grid.add_column(overflow="fold")
    heads = [column.header for column in made.columns]
    for number, row in enumerate(_rows(made)):
        if number:
            grid.add_row()
        for head, cell in zip(heads, row, strict=True):
            if _plain(cell):
                grid.add_row(head, cell)
    return grid


def lines(made: RenderableType) -> Iterator[str]:
    """For programs: cells with tabs between; nothing is padded, folded or styled."""
    if isinstance(made, Group):
        for part in made.renderables:
            yield from lines(part)
    elif isinstance(made, Table):
        if made.title:
            yield _plain(made.title)
        if made.show_header:
            yield "\t".join(_plain(column.header) for column in made.columns)
        for row in _rows(made):
            yield "\t".join(" ".join(_plain(cell).split()) for cell in row)
    else:
        yield _plain(made)


def _rows(made: Table) -> Iterator[tuple[RenderableType, ...]]:
    yield from zip(*(column.cells for column in made.columns), strict=True)


def _plain(cell: RenderableType) -> str:
    return cell.plain if isinstance(cell, Text) else str(cell)
