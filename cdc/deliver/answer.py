"""Read a peer's answer, strictly and within bounds. Pure: bytes go in, a reply comes out.

The parser is llhttp, by way of httptools, in its strict mode: no bare LF, no folded headers, one
Content-Length, none with Transfer-Encoding. What it would still let pass, and how much a peer
may send around its answer, is decided here. The verdict does not depend on how the bytes are cut
into pieces.
"""

from __future__ import annotations

from typing import NamedTuple, NoReturn

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from cdc.deliver.outcome import SCANNED_BYTES, NotHttp, TooMuch

HEAD_LIMIT_BYTES = 32 * 1024
"""Bytes up to the end of the headers, interim answers included."""

HEADER_LIMIT_LINES = 100
"""Header lines of one answer."""

INTERIM_LIMIT_ANSWERS = 16
"""Interim answers (1xx) before the real one."""

RAW_LIMIT_BYTES = 256 * 1024
"""Bytes of one answer as it comes over the wire, headers and framing included. Four times what is
read of a body."""

_OF_INTEREST = frozenset(
    map(
        len,
        ("content-length", "transfer-encoding", "retry-after", "location", "webhook-delivery"),
    )
)
_FRAMES = (4, 7)  # of HTTP/2 that a server begins with: SETTINGS, GOAWAY
_FRAME_TYPE = 3  # where a frame's type stands
_SLICE_BYTES = 16 * 1024  # what is parsed before the limits are looked at again


class HttpReply(NamedTuple):
    """A complete answer.

    retry_after: the header as it came, None without.
    body:        its beginning, as much as is shown.
    keep:        the connection can carry another request.
    location:    the header as it came, None without.
    asks:        webhook-delivery as it came: what is to be done with the delivery. None without.
    """

    status: int
    retry_after: str | None
    body: bytes
    keep: bool
    location: str | None = None
    asks: str | None = None


class _Enough(Exception):
    """Stops the parser: no more is wanted."""


class AnswerReader:
    """Reads the answers of one connection, one after the other.

    limit:    bytes of a body that are read; what is longer is complete then, and not kept.
    received: bytes that came in for the present answer.
    complete: the present answer is whole.
    """

    __slots__ = (
        "_asks",
        "_body",
        "_chunked",
        "_closing",
        "_framed",
        "_headers",
        "_interim",
        "_keep",
        "_limit",
        "_location",
        "_odd",
        "_parser",
        "_plain",
        "_read",
        "_retry_after",
        "_status",
        "_wrong",
        "complete",
        "received",
    )

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._parser = HttpResponseParser(self)
        # An interim answer may say `Connection: close`; what follows a final one is ended here.
        self._parser.set_dangerous_leniencies(lenient_keep_alive=True)
        self._wrong: NotHttp | TooMuch | None = None
        self.begin()

    def begin(self) -> None:
        """A request goes out: what comes from now on is its answer."""
        self.received = 0
        self.complete = False
        self._status = 0  # until the head of the real answer is complete
        self._interim = 0
        self._keep = self._closing = False
        self._read = 0
        self._body = self._odd = b""
        self._fresh_head()

    def _fresh_head(self) -> None:
        self._plain = False
        self._headers = 0
        self._framed = self._chunked = False
        self._retry_after: bytes | None = None
        self._location: bytes | None = None
        self._asks: bytes | None = None

    def feed(self, data: bytes) -> bool:
        """Take in what came; True when the answer is complete.

        Raises NotHttp for what breaks the protocol, TooMuch for what goes beyond the bounds. The
        connection is of no use then.
        """
        if not self.received:
            # llhttp would read RTSP too, and empty lines ahead of an answer.
            if data[:1] != b"H":
                self._other_protocol(data)
                return False
            self._plain = data.startswith(b"HTTP/1.1 ")
            if len(data) <= _SLICE_BYTES:  # as good as every answer
                self.received = len(data)
                self._parse(data)
                return self.complete
        rest = memoryview(data)
        while rest and not self.complete:
            limit = RAW_LIMIT_BYTES if self._status else HEAD_LIMIT_BYTES
            room = limit - self.received
            if room <= 0:
                raise TooMuch(f"more than {limit:,} bytes, framing included")
            piece = rest[: min(room, _SLICE_BYTES)]
            rest = rest[len(piece) :]
            self.received += len(piece)
            self._parse(piece)
        if rest:
            self._keep = False
        return self.complete

    def _other_protocol(self, data: bytes) -> None:
        """Raises NotHttp; of a frame of HTTP/2 not before its type is there."""
        self._odd += data
        begin = self._odd
        if begin[:2] == b"\x15\x03":
            raise NotHttp("a TLS alert", "protocol tls")
        if begin[:1] in (b"\0", b"\x15") and len(begin) <= _FRAME_TYPE:
            return
        if begin[:1] == b"\0" and begin[_FRAME_TYPE] in _FRAMES:
            raise NotHttp("a frame of HTTP/2", "protocol http2 only")
        raise NotHttp("no status line")

    def _parse(self, piece: bytes | memoryview) -> None:
        try:
            self._parser.feed_data(piece)
        except (HttpParserError, HttpParserUpgrade) as error:
            # What a callback raises only stops the parser; it does not always come through.
            if self._wrong is not None:
                raise self._wrong from None
            if not self.complete:
                raise NotHttp(str(error)) from None
            self._keep = False

    def _refuse(self, reason: NotHttp | TooMuch) -> NoReturn:
        self._wrong = reason
        raise reason

    def end(self) -> bool:
        """The peer sends no more; True if that completes the answer."""
        self.complete = self.complete or (self._status > 0 and not self._framed)
        return self.complete

    @property
    def begun(self) -> bool:
        """The head is complete."""
        return self._status > 0

    def reply(self) -> HttpReply:
        """The answer, once it is complete."""
        return HttpReply(
            self._status,
            _text(self._retry_after),
            self._body,
            self._keep,
            _text(self._location),
            _text(self._asks),
        )

    # -- called by the parser ---------------------------------------------------------------------

    def on_message_begin(self) -> None:
        if self.complete:  # a second answer to one question must not overwrite the first
            self._keep = False
            raise _Enough

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._status:
            return  # a trailer
        self._headers += 1
        if self._headers > HEADER_LIMIT_LINES:
            self._refuse(TooMuch(f"more than {HEADER_LIMIT_LINES} headers"))
        if len(name) not in _OF_INTEREST:
            return
        name = name.lower()
        if name == b"content-length":
            self._framed = True
        elif name == b"transfer-encoding":
            # We have offered no other coding, and two opinions about where a body ends are one
            # too many.
            if self._framed or value.strip().lower() != b"chunked":
                self._refuse(NotHttp("Transfer-Encoding is not chunked"))
            self._framed = self._chunked = True
        elif name == b"retry-after":
            self._retry_after = self._retry_after or value
        elif name == b"location":
            self._location = self._location or value
        elif name == b"webhook-delivery":
            self._asks = self._asks or value

    def on_headers_complete(self) -> None:
        parser = self._parser
        status = parser.get_status_code()
        # llhttp lets 2.0 and 0.9 pass, and status 000. The version is expensive to ask for.
        version = "1.1" if self._plain else parser.get_http_version()
        if version not in ("1.1", "1.0") or status < 100:
            self._refuse(NotHttp("no status line of HTTP/1"))
        if self._chunked and version == "1.0":
            self._refuse(NotHttp("HTTP/1.0 has no chunks"))
        if status < 200 and status != 101:
            self._interim += 1
            if self._interim > INTERIM_LIMIT_ANSWERS:
                self._refuse(TooMuch("interim answers (1xx) without end"))
            self._closing = self._closing or not parser.should_keep_alive()
            self._fresh_head()
            return
        self._status = status
        # After 101 anything may follow; the parser itself refuses to go on.
        self._keep = parser.should_keep_alive() and not self._closing

    def on_body(self, data: bytes) -> None:
        if self._read < SCANNED_BYTES:
            self._body += data[: SCANNED_BYTES - self._read]
        self._read += len(data)
        if self._read > self._limit:
            self.complete, self._keep = True, False
            raise _Enough

    def on_message_complete(self) -> None:
        self.complete = self._status > 0


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode("latin-1")
