"""Nothing that is registered or stored can put a header, or a request, into a request."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdc.errors import UsageError
from cdc.message.signing import Sealer, header_lines
from cdc.model import Request
from tests.message.test_signing import A_DELIVERY, a_webhook


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("X-A", "tell\r\nHost: other.com"),
        ("X-A", "tell\n"),
        ("X-A", "tell\r"),
        ("X-A", "tell\x00"),
        ("X-A", "tellé"),
        ("X A", "tell"),
        ("X-A:", "tell"),
        ("X-A\r\nX-B", "tell"),
        ("", "tell"),
    ],
)
def test_a_header_is_a_line_of_its_own(name: str, value: str) -> None:
    with pytest.raises(UsageError) as caught:
        header_lines([("X-Good", "1"), (name, value)])
    assert "tell" not in caught.value.message + caught.value.hint


def test_an_id_cannot_bring_headers_along() -> None:
    """It comes from the database, where it is a uuid; that is not relied on here."""
    forged = replace(A_DELIVERY, uid="1\r\nX-Admin: yes")
    with pytest.raises(UsageError):
        Sealer(a_webhook()).seal(forged, b"{}", 1)


@given(st.lists(st.tuples(st.text(max_size=20), st.text(max_size=40)), max_size=5))
def test_no_header_becomes_two(headers: list[tuple[str, str]]) -> None:
    """Whatever is asked for: refused, or read by others as exactly that."""
    try:
        lines = header_lines(headers)
    except UsageError:
        return
    assert lines.count(b"\n") == lines.count(b"\r\n") == lines.count(b"\r") == len(headers)
    assert Request("https://a.com/", lines, b"").headers == tuple(headers)
