"""Reading an answer: strict, bounded, and the same however its bytes are cut. No network."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdc.deliver.answer import (
    HEAD_LIMIT_BYTES,
    HEADER_LIMIT_LINES,
    INTERIM_LIMIT_ANSWERS,
    RAW_LIMIT_BYTES,
    AnswerReader,
    HttpReply,
)
from cdc.deliver.outcome import SCANNED_BYTES, NotHttp, TooMuch

OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
LIMIT = 20_000

Verdict = HttpReply | type[Exception] | None


def read(*pieces: bytes, then_closes: bool = False, limit: int = LIMIT) -> Verdict:
    """What a reader makes of it; None if it waits for more."""
    reader = AnswerReader(limit)
    try:
        for piece in pieces:
            if reader.complete:
                # What comes after an answer costs the connection, see data_received.
                return reader.reply()._replace(keep=False)
            reader.feed(piece)
        if reader.complete or (then_closes and reader.end()):
            return reader.reply()
    except (NotHttp, TooMuch) as error:
        return type(error)
    return None


def whole(answer: bytes) -> HttpReply:
    got = read(answer)
    assert isinstance(got, HttpReply), got
    return got


GOOD = {
    "empty": (OK + b"Content-Length: 0\r\n\r\n", HttpReply(200, None, b"", True)),
    "length": (OK + b"content-LENGTH:  5 \r\n\r\nhello", HttpReply(200, None, b"hello", True)),
    "chunked": (
        CHUNKED + b"2;a=b\r\nhe\r\n003\r\nllo\r\n0\r\nX-Trailer: 1\r\n\r\n",
        HttpReply(200, None, b"hello", True),
    ),
    "no phrase": (b"HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n", HttpReply(200, None, b"", True)),
    "no content": (b"HTTP/1.1 204 No\r\n\r\n", HttpReply(204, None, b"", True)),
    "not modified": (
        b"HTTP/1.1 304 N\r\nContent-Length: 5\r\n\r\n",
        HttpReply(304, None, b"", True),
    ),
    "not kept": (
        OK + b"Connection: close\r\nContent-Length: 2\r\n\r\nok",
        HttpReply(200, None, b"ok", False),
    ),
    "1.0": (b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", HttpReply(200, None, b"ok", False)),
    "1.0, kept": (
        b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok",
        HttpReply(200, None, b"ok", True),
    ),
    "interim": (
        b"HTTP/1.1 100 Continue\r\nRetry-After: 9\r\n\r\nHTTP/1.1 103 Hints\r\nLink: x\r\n\r\n"
        b"HTTP/1.1 503 Busy\r\nRetry-After: 7\r\nContent-Length: 0\r\n\r\n",
        HttpReply(503, "7", b"", True),
    ),
    "interim, about to close": (
        b"HTTP/1.1 103 Hints\r\nConnection: close\r\n\r\n" + OK + b"Content-Length: 2\r\n\r\nok",
        HttpReply(200, None, b"ok", False),
    ),
    "another protocol": (
        b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
        HttpReply(101, None, b"", False),
    ),
    "another protocol, unasked": (b"HTTP/1.1 101 S\r\n\r\n", HttpReply(101, None, b"", False)),
    "an offer of another": (
        OK + b"Upgrade: h2c\r\nConnection: upgrade\r\nContent-Length: 2\r\n\r\nok",
        HttpReply(200, None, b"ok", True),
    ),
    "retry-after twice": (
        b"HTTP/1.1 429 X\r\nRetry-After: 1\r\nretry-after: 2\r\nContent-Length: 0\r\n\r\n",
        HttpReply(429, "1", b"", True),
    ),
    "not in a trailer": (
        b"HTTP/1.1 429 X\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nRetry-After: 1\r\n\r\n",
        HttpReply(429, None, b"", True),
    ),
    "bytes in a value": (
        OK + b"A: \xff\r\nContent-Length: 0\r\n\r\n",
        HttpReply(200, None, b"", True),
    ),
    "as large as it gets": (
        OK + b"Content-Length: %d\r\n\r\n" % LIMIT + b"x" * LIMIT,
        HttpReply(200, None, b"x" * SCANNED_BYTES, True),
    ),
    "larger": (
        OK + b"Content-Length: 999999999\r\n\r\n" + b"x" * (LIMIT + 1),
        HttpReply(200, None, b"x" * SCANNED_BYTES, False),
    ),
}
GOOD_BY_CLOSING = {
    "1.1": (OK + b"\r\nhello", HttpReply(200, None, b"hello", False)),
    "1.0": (b"HTTP/1.0 500 Oh\r\nRetry-After: 5\r\n\r\n", HttpReply(500, "5", b"", False)),
    "kept, it says": (OK + b"Connection: keep-alive\r\n\r\nx", HttpReply(200, None, b"x", False)),
}
NO_HTTP = {
    "HTTP/0.9": b"<html>\n",
    "its name only": b"HTTP/0.9 200 OK\r\nContent-Length: 0\r\n\r\n",
    "HTTP/2": b"HTTP/2.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 0\r\n\r\n",
    "HTTP/2 after an interim answer": b"HTTP/1.1 100 C\r\n\r\nHTTP/2.0 200 OK\r\n\r\n",
    "HTTP/2 preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "HTTP/2 settings": b"\x00\x00\x12\x04\x00\x00\x00\x00\x00",
    "HTTP/1.2": b"HTTP/1.2 200 OK\r\nContent-Length: 0\r\n\r\n",
    "RTSP": b"RTSP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n",
    "a request": b"POST / HTTP/1.1\r\nHost: a\r\n\r\n",
    "TLS": b"\x15\x03\x03\x00\x02\x02\x28",
    "lower case": b"http/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    "empty lines first": b"\r\n\r\n" + OK + b"Content-Length: 0\r\n\r\n",
    "status 0": b"HTTP/1.1 000 OK\r\nContent-Length: 0\r\n\r\n",
    "status 20": b"HTTP/1.1 20 OK\r\nContent-Length: 0\r\n\r\n",
    "status 2000": b"HTTP/1.1 2000 OK\r\nContent-Length: 0\r\n\r\n",
    "two spaces": b"HTTP/1.1  200 OK\r\nContent-Length: 0\r\n\r\n",
    "bare LF": b"HTTP/1.1 200 OK\nContent-Length: 0\n\n",
    "bare LF in a header": OK + b"A: b\nContent-Length: 0\r\n\r\n",
    "bare LF at the end": OK + b"Content-Length: 0\r\n\n",
    "bare CR": OK + b"A: b\rContent-Length: 0\r\n\r\n",
    "NUL in a value": OK + b"A: b\x00c\r\nContent-Length: 0\r\n\r\n",
    "NUL in a name": OK + b"A\x00: b\r\nContent-Length: 0\r\n\r\n",
    "no name": OK + b": b\r\nContent-Length: 0\r\n\r\n",
    "no colon": OK + b"Content-Length 0\r\n\r\n",
    "space before the colon": OK + b"Content-Length : 0\r\n\r\n",
    "folded": OK + b"A: b\r\n c\r\nContent-Length: 0\r\n\r\n",
    "folded at once": OK + b" A: b\r\nContent-Length: 0\r\n\r\n",
    "length empty": OK + b"Content-Length:\r\n\r\n",
    "length negative": OK + b"Content-Length: -1\r\n\r\n",
    "length with a plus": OK + b"Content-Length: +1\r\n\r\nx",
    "length in hex": OK + b"Content-Length: 0x1\r\n\r\nx",
    "length in words": OK + b"Content-Length: one\r\n\r\nx",
    "length list": OK + b"Content-Length: 1,1\r\n\r\nx",
    "length with a gap": OK + b"Content-Length: 1 1\r\n\r\nx",
    "length out of range": OK + b"Content-Length: 18446744073709551616\r\n\r\nx",
    "length twice": OK + b"Content-Length: 1\r\nContent-Length: 1\r\n\r\nx",
    "two lengths": OK + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nxx",
    "length and chunks": OK + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunks and length": OK + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
    "chunked twice": OK + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
    "chunked, chunked": OK + b"Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
    "chunked, identity": OK + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    "gzip, chunked": OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "gzip only": OK + b"Transfer-Encoding: gzip\r\n\r\n",
    "identity": OK + b"Transfer-Encoding: identity\r\n\r\n",
    "xchunked": OK + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "chunks in 1.0": b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "no coding": OK + b"Transfer-Encoding:\r\n\r\n0\r\n\r\n",
    "chunk size in words": CHUNKED + b"zz\r\n",
    "chunk size negative": CHUNKED + b"-1\r\nx\r\n0\r\n\r\n",
    "chunk size with 0x": CHUNKED + b"0x1\r\nx\r\n0\r\n\r\n",
    "chunk size out of range": CHUNKED + b"10000000000000000\r\nx",
    "chunk size empty": CHUNKED + b"\r\nx\r\n0\r\n\r\n",
    "chunk size and a space": CHUNKED + b"1 \r\nx\r\n0\r\n\r\n",
    "chunk and a bare LF": CHUNKED + b"1\nx\r\n0\r\n\r\n",
    "chunk too long": CHUNKED + b"1\r\nxx\r\n0\r\n\r\n",
    "chunk without its end": CHUNKED + b"1\r\nx0\r\n\r\n",
    "trailer folded": CHUNKED + b"0\r\nA: b\r\n c\r\n\r\n",
}
ENDLESS = {
    "headers": (OK, b"A: b\r\n"),
    "large headers": (OK, b"A: " + b"b" * 8000 + b"\r\n"),
    "a header": (OK + b"A: ", b"b" * 1000),
    "a header's name": (OK, b"b" * 1000),
    "a phrase": (b"HTTP/1.1 200 ", b"o" * 1000),
    "interim answers": (b"", b"HTTP/1.1 100 C\r\n\r\n"),
    "large interim answers": (b"", b"HTTP/1.1 103 H\r\nLink: " + b"l" * 5000 + b"\r\n\r\n"),
    "a chunk extension": (CHUNKED + b"1;", b"e" * 1000),
    "tiny chunks with extensions": (CHUNKED, b"1;" + b"e" * 1000 + b"\r\nx\r\n"),
    "zeros of a chunk size": (CHUNKED, b"0" * 1000),
    "trailers": (CHUNKED + b"0\r\n", b"A: " + b"b" * 1000 + b"\r\n"),
}


@pytest.mark.parametrize(("answer", "reply"), GOOD.values(), ids=GOOD.keys())
def test_good_answers(answer: bytes, reply: HttpReply) -> None:
    assert read(answer) == reply


@pytest.mark.parametrize(("answer", "reply"), GOOD_BY_CLOSING.values(), ids=GOOD_BY_CLOSING.keys())
def test_answers_that_end_with_the_connection(answer: bytes, reply: HttpReply) -> None:
    assert read(answer) is None
    assert read(answer, then_closes=True) == reply


@pytest.mark.parametrize("answer", [good for good, _ in GOOD.values()], ids=GOOD.keys())
def test_no_part_of_an_answer_is_an_answer(answer: bytes) -> None:
    known = AnswerReader(LIMIT)
    known.feed(answer)
    end = known.received if known.complete else 0
    for cut in {*range(1, min(len(answer), 300)), len(answer) - 1} - {end}:
        assert read(answer[:cut], then_closes=True) is None, cut


@pytest.mark.parametrize("answer", NO_HTTP.values(), ids=NO_HTTP.keys())
def test_what_is_no_answer(answer: bytes) -> None:
    assert read(answer) is NotHttp
    assert read(*(bytes([byte]) for byte in answer)) is NotHttp


@pytest.mark.parametrize(("head", "piece"), ENDLESS.values(), ids=ENDLESS.keys())
def test_what_has_no_end(head: bytes, piece: bytes) -> None:
    pieces = [piece] * (1 + RAW_LIMIT_BYTES // len(piece))
    assert read(*filter(None, [head]), *pieces) is TooMuch
    assert read(head + b"".join(pieces)) is TooMuch


def test_the_limits_are_exact() -> None:
    def head(headers: int, size: int = 0) -> bytes:
        lines = b"".join(b"X-%d: y\r\n" % n for n in range(headers - 2))
        answer = OK + lines + b"Content-Length: 0\r\nX: %b\r\n\r\n"
        return answer % (b"y" * (size - len(answer) + 2) if size else b"")

    assert whole(head(HEADER_LIMIT_LINES)).status == 200
    assert read(head(HEADER_LIMIT_LINES + 1)) is TooMuch
    assert whole(head(3, HEAD_LIMIT_BYTES)).status == 200
    assert read(head(3, HEAD_LIMIT_BYTES + 1)) is TooMuch
    interim = b"HTTP/1.1 100 C\r\n\r\n"
    assert whole(interim * INTERIM_LIMIT_ANSWERS + head(2)).status == 200
    assert read(interim * (INTERIM_LIMIT_ANSWERS + 1) + head(2)) is TooMuch


@pytest.mark.parametrize(
    "more", [OK, b"x", b"\r\nx", OK + b"Content-Length: 0\r\n\r\n", b"0" * 50_000]
)
def test_more_than_an_answer_costs_the_connection(more: bytes) -> None:
    answer = OK + b"Content-Length: 2\r\n\r\nok"
    assert read(answer) == HttpReply(200, None, b"ok", True)
    assert read(answer + more) == HttpReply(200, None, b"ok", False)
    assert read(b"HTTP/1.1 500 Oh\r\nContent-Length: 2\r\n\r\nno" + more) == HttpReply(
        500, None, b"no", False
    )
    assert read(b"HTTP/1.1 204 No\r\nContent-Length: 2\r\n\r\nok") == HttpReply(
        204, None, b"", False
    )


def test_one_after_the_other() -> None:
    """Nothing of an answer is left when the next one comes."""
    reader = AnswerReader(LIMIT)
    answers = [(answer, reply) for answer, reply in GOOD.values() if reply.keep]
    for answer, reply in answers + answers[::-1]:
        reader.begin()
        assert reader.feed(answer)
        assert reader.reply() == reply


def pieces(answer: bytes, cuts: list[int]) -> list[bytes]:
    edges = [0, *sorted({cut % len(answer) for cut in cuts} - {0}), len(answer)]
    return [answer[a:b] for a, b in pairwise(edges)]


def everything() -> list[bytes]:
    good = [answer for answer, _ in (*GOOD.values(), *GOOD_BY_CLOSING.values())]
    endless = [
        head + piece * (1 + RAW_LIMIT_BYTES // len(piece)) for head, piece in ENDLESS.values()
    ]
    return [*good, *NO_HTTP.values(), *endless]


@given(st.sampled_from(everything()), st.lists(st.integers(0, 400_000), max_size=20))
def test_the_verdict_does_not_depend_on_the_cuts(answer: bytes, cuts: list[int]) -> None:
    assert read(*pieces(answer, cuts), then_closes=True) == read(answer, then_closes=True)


@pytest.mark.parametrize(
    "answer", [one for one in everything() if len(one) < 1000], ids=lambda one: repr(one[:20])
)
def test_byte_by_byte(answer: bytes) -> None:
    assert read(*(bytes([byte]) for byte in answer), then_closes=True) == read(
        answer, then_closes=True
    )


names = st.from_regex(rb"X-[A-Za-z0-9-]{0,20}", fullmatch=True)
values = st.from_regex(rb"[!-~]([ -~]{0,50}[!-~])?", fullmatch=True)


@given(
    st.integers(200, 999).filter(lambda status: status not in (204, 304)),
    st.lists(st.tuples(names, values), max_size=20),
    st.lists(st.binary(min_size=1, max_size=500), max_size=8),
    st.booleans(),
    st.lists(st.integers(0, 10_000), max_size=10),
)
def test_any_honest_answer_in_any_pieces(
    status: int,
    headers: list[tuple[bytes, bytes]],
    parts: list[bytes],
    chunked: bool,
    cuts: list[int],
) -> None:
    body = b"".join(parts)
    answer = b"HTTP/1.1 %d Words of its own\r\n" % status
    answer += b"".join(b"%b: %b\r\n" % pair for pair in headers)
    if chunked:
        answer += b"Transfer-Encoding: chunked\r\n\r\n"
        answer += b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"
    else:
        answer += b"Content-Length: %d\r\n\r\n%b" % (len(body), body)
    assert read(*pieces(answer, cuts)) == HttpReply(status, None, body, True)


@given(
    st.sampled_from([b"", b"HTTP/1.1 ", OK, CHUNKED, OK + b"Content-Length: ", b"HTTP/1.1 100"]),
    st.lists(st.binary(min_size=1, max_size=200), max_size=10),
)
def test_no_bytes_raise_anything_else(beginning: bytes, some: list[bytes]) -> None:
    got = read(*([beginning] if beginning else []), *some, then_closes=True)
    assert got is None or isinstance(got, HttpReply) or got in (NotHttp, TooMuch)


@given(st.sampled_from(everything()), st.data())
def test_a_damaged_answer_raises_nothing_else(answer: bytes, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, min(len(answer), 400) - 1))
    junk = data.draw(st.binary(max_size=5))
    got = read(answer[:at] + junk + answer[at + 1 :], then_closes=True)
    assert got is None or isinstance(got, HttpReply) or got in (NotHttp, TooMuch)


@pytest.mark.parametrize("head", [OK, OK + b"Connection: close\r\n"])
def test_what_follows_an_answer_is_no_part_of_it(head: bytes) -> None:
    answer = head + b"Content-Length: 2\r\n\r\nok"
    for more in (b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n", b"garbage", b"\0"):
        assert read(answer + more) == HttpReply(200, None, b"ok", False)
