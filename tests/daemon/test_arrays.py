"""Arrays as text: PostgreSQL reads what was meant."""

from __future__ import annotations

import psycopg
from hypothesis import given
from hypothesis import strategies as st

from cdc.postgres.arrays import plain, texts

TEXTS = st.lists(
    st.none() | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
)
NUMBERS = st.lists(st.none() | st.integers(-(2**63), 2**63 - 1))
FLOATS = st.lists(st.none() | st.floats())


@given(words=TEXTS, numbers=NUMBERS, floats=FLOATS)
def test_what_is_written_is_read(
    admin: psycopg.Connection,
    words: list[str | None],
    numbers: list[int | None],
    floats: list[float | None],
) -> None:
    row = admin.execute(
        "select %s::text[], %s::bigint[], %s::float8[]",
        [texts(words), plain(numbers), plain(floats)],
    ).fetchone()
    assert row is not None
    assert row[0] == words
    assert row[1] == numbers
    assert list(map(repr, row[2])) == list(map(repr, floats))


def test_words_that_look_like_syntax(admin: psycopg.Connection) -> None:
    words = ["NULL", "null", "{}", ",", '"', "\\", '\\"', "", " ", "a\nb", None]
    assert admin.execute("select %s::text[]", [texts(words)]).fetchone() == (words,)
