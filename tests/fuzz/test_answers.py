"""Whatever a receiver answers: an outcome in time, nothing left open, no other disturbed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from hypothesis import example, given
from hypothesis import strategies as st

from cdc.deliver import Client
from cdc.model import Answer, Outcome
from tests.deliver.kit import LOOPBACK, request_to
from tests.support import hostile
from tests.support.examples import examples
from tests.support.hostile import OK, Behaviour, Hostile, keeps_saying

DEADLINE = 0.15
FUZZ = examples(12)
ERRORS = {None, "status", "reset", "timeout", "protocol", "refused"}

HONEST = (
    OK,
    b"HTTP/1.1 204 No Content\r\n\r\n",
    b"HTTP/1.0 200 OK\r\n\r\nuntil it closes",
    b"HTTP/1.1 503 Busy\r\nRetry-After: 120\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 429 Slow\r\nRetry-After: Wed, 21 Oct 2037 07:28:00 GMT\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1/\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX-Trailer: 1\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\n\x1f\x8b\x08\x00",
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: upgrade\r\n\r\n",
)
PIECES = (
    *(b"\r\n", b"\n", b"\r", b"\0", b":", b" ", b"\t", b";", b",", b"\x80\xfe\xff"),
    *(b"HTTP/1.1", b"HTTP/2", b"100", b"999", b"-1", b"0x10", b"18446744073709551616"),
    *(b"Content-Length: 5\r\n", b"Content-Length: 6\r\n", b"Connection: close\r\n"),
    *(b"Transfer-Encoding: chunked\r\n", b"Transfer-Encoding: gzip, chunked\r\n"),
    *(b"Retry-After: \xff\r\n", b"Retry-After: 99999999999999999999999\r\n"),
    *(b"X" * 40_000, b"X-A: 1\r\n" * 150),
)


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """An honest answer with pieces put in, taken out, or put in another's place."""
    answer = draw(st.sampled_from(HONEST))
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(answer)))
        end = draw(st.integers(start, min(len(answer), start + 12)))
        piece = draw(st.one_of(st.just(b""), st.sampled_from(PIECES), st.binary(max_size=8)))
        answer = answer[:start] + piece + answer[end:]
    return answer


ANSWERS = st.one_of(damaged(), damaged(), st.sampled_from(HONEST), st.binary(max_size=300))
ENDS: dict[str, Callable[[bytes], Behaviour]] = {
    "closes": hostile.says,
    "resets": hostile.resets_after,
    "stays": hostile.stops_after,
    "goes on": keeps_saying,
    # In large pieces, and with pauses for the client, which shares the loop.
    "never ends": lambda answer: hostile.repeats(answer, (answer or b"\0") * 100, 0.0),
}


async def asked(behaviour: Behaviour) -> tuple[list[Outcome], Outcome]:
    """What came of three requests, by kept connections where they are kept; and of one to another
    else afterwards."""
    client = Client(LOOPBACK, deadline=DEADLINE, connect_timeout=DEADLINE)
    async with Hostile(behaviour) as peer, Hostile(keeps_saying(OK)) as honest:
        outcomes = [await client.post(request_to(peer.url())) for _ in range(3)]
        patient = Client(LOOPBACK, deadline=10, connect_timeout=10)
        other = await patient.post(request_to(honest.url()))
        async with asyncio.timeout(10):
            await client.close()
            await patient.close()
    assert client.open == 0
    return outcomes, other


@FUZZ
@given(answer=ANSWERS, end=st.sampled_from(sorted(ENDS)))
@example(answer=b"", end="never ends")
@example(answer=b"HTTP/1.1 200 OK\r\n", end="never ends")
@example(answer=b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n", end="stays")
def test_any_answer_is_an_outcome(answer: bytes, end: str) -> None:
    outcomes, other = asyncio.run(asked(ENDS[end](answer)))
    for outcome in outcomes:
        assert isinstance(outcome, Outcome)
        assert outcome.error in ERRORS
        assert (outcome.error is None) == (outcome.answer is Answer.SUCCESS)
        assert (outcome.status is None) == (outcome.error not in (None, "status"))
        assert outcome.detail.isprintable()
        assert outcome.excerpt.isprintable()
        assert len(outcome.excerpt.encode()) <= 1024
        assert outcome.retry_after is None or 0 < outcome.retry_after <= 86_400
        # Generous towards a busy machine; without a limit some of these would never end.
        assert outcome.duration < DEADLINE + 5
    assert other.answer is Answer.SUCCESS
