"""A local receiver: takes webhooks in, verifies and records them, and can misbehave on request.

For ``cdc receive``, the demo and the tests. No server for production: it keeps what it gets.
"""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from aiohttp import web
from multidict import CIMultiDict

from cdc.errors import CdcError
from cdc.message.signing import SignatureProblem, verify
from cdc.message.signing_keys import verifying
from cdc.model import CHALLENGE_EVENT
from cdc.telemetry.http import HTTP_LOG
from cdc.wording import bracketed


@dataclass(slots=True)
class Received:
    """One POST as it came.

    path:    with the query, as in the request line.
    headers: names in lower case; of repeated ones the last.
    at:      wall clock (UTC) when the last byte of the body had come.
    clock:   the same moment by ``time.perf_counter()``.
    problem: why it is not verified; None if it is.
    tries:   how often this webhook-id has come to this path, this time included.
    status:  what was answered; None until then, and if the peer was hung up on.
    """

    method: str
    path: str
    headers: dict[str, str] = field(repr=False)
    body: bytes
    at: datetime
    clock: float
    problem: SignatureProblem | None
    tries: int
    status: int | None = None

    @property
    def verified(self) -> bool:
        return self.problem is None

    @property
    def uid(self) -> str:
        """The webhook-id; empty if there was none."""
        return self.headers.get("webhook-id", "")


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)


Answer = Callable[[Received], "Reply | int | Awaitable[Reply | int]"]


@dataclass(frozen=True, slots=True)
class Script:
    """How a path answers.

    reply:      what is answered when nothing below applies.
    failure:    what is answered to those that are to fail.
    delay:      seconds before each answer.
    fail_first: how many are failed before the first success: of each webhook-id, or of all.
    per_id:     ... of each webhook-id.
    fail_rate:  share of requests (0 to 1) that is failed, at random from the receiver's seed.
    answer:     decides alone, if given (a reply or a status, at once or awaited); delay applies.
    """

    reply: Reply = Reply()
    failure: Reply = Reply(500, b"fails on request")
    delay: float = 0.0
    fail_first: int = 0
    per_id: bool = True
    fail_rate: float = 0.0
    answer: Answer | None = None


REMEMBERED = 200_000
"""Ids, and paths, that are counted; the oldest are forgotten."""

Until = int | Callable[[Sequence[Received]], bool]


class Receiver:
    """An HTTP server that verifies, records and answers as configured.

    on_received: called with each POST as soon as its last byte has come, before it is answered.
    on_answered: called with it again when its answer is decided, just before that is sent.
    keep:        record the POSTs in ``received``; else only ``count`` and the callback.
    seed:        of the chance in ``fail_rate``.
    """

    def __init__(
        self,
        on_received: Callable[[Received], None] | None = None,
        *,
        on_answered: Callable[[Received], None] | None = None,
        keep: bool = True,
        seed: int = 0,
    ) -> None:
        self.received: list[Received] = []
        self.count = 0
        self.answered = 0
        self.unverified = 0
        self._on_received = on_received
        self._on_answered = on_answered
        self._keep = keep
        self._chance = random.Random(seed)  # noqa: S311 - a simulation, to be repeatable
        self._secrets: dict[str, tuple[str, ...]] = {}
        self._scripts: dict[str, Script] = {}
        self._default_secrets: tuple[str, ...] = ()
        self._default_script = Script()
        # By hashes: ids and paths come from outside, of any length and number.
        self._tries: Counter[int] = Counter()
        self._seen: Counter[int] = Counter()
        self._waiting: list[tuple[Callable[[], bool], asyncio.Future[None]]] = []
        self._runner: web.ServerRunner | None = None
        self._base = ""

    def expect(self, path: str | None, *secrets: str) -> None:
        """What requests to a path (without query) must be signed with; None: all other paths.

        Raises UsageError for a wrong secret.
        """
        for secret in secrets:
            verifying(secret)
        if path is None:
            self._default_secrets = secrets
        else:
            self._secrets[path] = secrets

    def script(self, path: str | None, script: Script) -> None:
        """How a path (without query) answers from now on; None: all other paths."""
        if path is None:
            self._default_script = script
        else:
            self._scripts[path] = script

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> None:
        """Listen. Port 0 takes a free one; see ``url``.

        Raises CdcError if the port is taken.
        """
        # The low-level server: no routes, no access log. Thousands a second are asked for.
        runner = web.ServerRunner(
            web.Server(self._handle, access_log=None, logger=HTTP_LOG),
            shutdown_timeout=0.1,
            access_log=None,
        )
        await runner.setup()
        try:
            await web.TCPSite(runner, host, port, backlog=1024).start()
        except OSError as error:
            await runner.cleanup()
            raise CdcError(
                f"cannot listen on {host} port {port}: {error.strerror or error}",
                "Choose another port, or 0 for any free one.",
            ) from error
        self._runner = runner
        bound = runner.addresses[0]
        self._base = f"http://{bracketed(bound[0])}:{bound[1]}"

    async def stop(self) -> None:
        """Stop listening and close all connections."""
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()

    def url(self, path: str = "/") -> str:
        """The URL of a path; only after start."""
        return self._base + path

    async def wait_for(self, until: Until, limit: float = 60.0) -> None:
        """Wait until this many POSTs have come and were answered, or until a condition holds.

        until: a number, or a function of all received ones (asked again whenever one comes or
               was answered).
        limit: seconds; then TimeoutError, which says how far it came.
        """
        if isinstance(until, int):
            wanted = until

            def holds() -> bool:
                return self.answered >= wanted
        else:
            condition = until

            def holds() -> bool:
                return condition(self.received)

        if holds():
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        entry = (holds, future)
        self._waiting.append(entry)
        try:
            async with asyncio.timeout(limit):
                await future
        except TimeoutError:
            seen = f"{self.count} received, {self.answered} answered"
            raise TimeoutError(f"{seen} within {limit:g} s; waited for {until}") from None
        finally:
            self._waiting.remove(entry)

    def _wake(self) -> None:
        for holds, future in self._waiting:
            if not future.done() and holds():
                future.set_result(None)

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        body = await request.read()
        clock, at = time.perf_counter(), datetime.now(UTC)
        path = request.path
        headers = {name.lower(): value for name, value in request.headers.items()}
        secrets = self._secrets.get(path, self._default_secrets)
        problem = verify(secrets, headers, body, at.timestamp())
        tries = _counted(self._tries, (path, headers.get("webhook-id", "")))
        seen = _counted(self._seen, path)
        got = Received(
            method=request.method,
            path=request.raw_path,
            headers=headers,
            body=body,
            at=at,
            clock=clock,
            problem=problem,
            tries=tries,
        )
        self.count += 1
        self.unverified += problem is not None
        if self._keep:
            self.received.append(got)
        if self._on_received is not None:
            self._on_received(got)
        if self._waiting:
            self._wake()
        reply = await self._reply(self._scripts.get(path, self._default_script), seen, got)
        got.status = reply.status
        self.answered += 1
        if self._on_answered is not None:
            self._on_answered(got)
        if self._waiting:
            self._wake()
        return web.Response(
            status=reply.status, body=reply.body, headers=CIMultiDict(reply.headers)
        )

    async def _reply(self, script: Script, seen: int, got: Received) -> Reply:
        if script.delay > 0:
            await asyncio.sleep(script.delay)
        if script.answer is not None:
            made = script.answer(got)
            reply = made if isinstance(made, (Reply, int)) else await made
            return Reply(reply) if isinstance(reply, int) else reply
        before = got.tries if script.per_id else seen
        if before <= script.fail_first or self._chance.random() < script.fail_rate:
            return script.failure
        if script.reply == Reply() and (text := _challenge(got)) is not None:
            return Reply(body=text.encode())
        return script.reply


def _challenge(got: Received) -> str | None:
    """What a challenge has to be answered with; None: it is none, or not signed as expected."""
    if CHALLENGE_EVENT.encode() not in got.body or got.problem not in (
        None,
        SignatureProblem.NO_SECRET,
    ):
        return None
    try:
        return str(json.loads(got.body)["data"]["challenge"])
    except (ValueError, LookupError, TypeError):
        return None


def _counted(counts: Counter[int], what: object) -> int:
    """How often it has come, this time included."""
    key = hash(what)
    counts[key] += 1
    if len(counts) > REMEMBERED:
        del counts[next(iter(counts))]
    return counts[key]
