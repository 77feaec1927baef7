"""The same for the statements of the daemon (sql/queries): by words, as SQL has no parser here."""

from __future__ import annotations

import re
from collections.abc import Iterator

from tests.mutants.changes import Change

# What a piece of a statement becomes. Comments are left alone.
_RULES: tuple[tuple[str, str, str], ...] = (
    ("comparison swapped", r"(?<![<>=!])<(?![=>])", "<="),
    ("comparison swapped", r"<=", "<"),
    ("comparison swapped", r"(?<![<>=-])>(?!=)", ">="),
    ("comparison swapped", r">=", ">"),
    ("comparison swapped", r"<>", "="),
    ("condition negated", r"\bis null\b", "is not null"),
    ("condition negated", r"\bis not null\b", "is null"),
    ("condition negated", r"\bnot exists\b", "exists"),
    ("condition negated", r"\bwhere (?=exists\b)", "where not "),
    ("order reversed", r"\border by ([\w.\"]+)(?! desc)(?=[,\s)])", r"order by \1 desc"),
    ("order reversed", r"\bdesc\b", ""),
    ("function swapped", r"\bmin\(", "max("),
    ("function swapped", r"\bmax\(", "min("),
    ("function swapped", r"\bgreatest\(", "least("),
    ("function swapped", r"\bleast\(", "greatest("),
    ("operator swapped", r" \+ ", " - "),
    ("operator swapped", r" - ", " + "),
    ("lock dropped", r"\bfor (share|update)( of \w+)?( skip locked)?", ""),
    ("lock waited for", r" skip locked", ""),
    ("conflict raised", r"\bon conflict do nothing", ""),
    ("condition dropped", r"(?m)^ *and (?!.*[()]).*$", ""),
    ("condition dropped", r"(?<=\S) and [\w.\"]+ = [\w.$\"]+", ""),
)


def changes_of(file: str, source: str) -> list[Change]:
    """Every change of the statement, in the order of its lines."""
    found = {(x.start, x.end, x.new): x for x in _changes(file, source)}
    return [found[place] for place in sorted(found)]


def _changes(file: str, source: str) -> Iterator[Change]:
    code = re.sub(r"--[^\n]*", lambda comment: " " * len(comment[0]), source)
    for kind, pattern, new in _RULES:
        for match in re.finditer(pattern, code):
            start = len(source[: match.start()].encode())
            length = len(match[0].encode())
            line = source.count("\n", 0, match.start()) + 1
            yield Change(file, line, kind, start, start + length, match.expand(new))
