"""Runs commands of the guides as a person would; those that stay, as processes of their own."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from urllib.parse import urlsplit, urlunsplit

from typer.testing import CliRunner

from cdc.cli import app
from cdc.sandbox.process import bare_environment

LIMIT = 30.0  # seconds; a command that takes longer hangs


@dataclass(slots=True)
class Terminal:
    """Where commands are typed: its environment, and what in the guide stands for something here.

    stands_for: text of the guide -> text to use instead.
    """

    database_url: str
    environment: dict[str, str] = field(default_factory=dict)
    stands_for: dict[str, str] = field(default_factory=dict)

    def words(self, words: Sequence[str]) -> list[str]:
        """The arguments of a `cdc ...` line of a guide."""
        assert words[0] == "cdc"
        replaced = []
        for word in words[1:]:
            for text, instead in self.stands_for.items():
                word = word.replace(text, instead)
            replaced.append(word)
        return replaced

    async def start(self, *words: str) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "cdc",
            *words,
            env={**bare_environment(), "CDC_DATABASE_URL": self.database_url, **self.environment},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )

    def run(self, *words: str, fails: bool = False) -> str:
        """Runs a command to its end, in this process; returns stdout, then stderr.

        fails: it has to exit with 1; otherwise with 0.
        """
        environment = {"CDC_DATABASE_URL": self.database_url, **self.environment}
        result = CliRunner().invoke(app, words, env=environment, catch_exceptions=False)
        said = result.stdout + result.stderr
        assert result.exit_code == int(fails), f"cdc {' '.join(words)}:\n{said}"
        return said

    async def run_beside(self, *words: str) -> str:
        """The same where an event loop is running: some commands run one of their own."""
        return await asyncio.to_thread(self.run, *words)

    @asynccontextmanager
    async def running(self, *words: str, ready: str) -> AsyncIterator[asyncio.subprocess.Process]:
        """A command that stays, once its stderr holds ``ready``; stopped by SIGTERM afterwards."""
        process = await self.start(*words)
        try:
            assert process.stderr is not None
            await line_with(process.stderr, ready)
            yield process
        finally:
            if process.returncode is None:
                process.terminate()
            async with asyncio.timeout(LIMIT):
                _, err = await process.communicate()
        assert process.returncode == 0, err.decode()


async def line_with(stream: asyncio.StreamReader, text: str) -> str:
    """The next line that holds this text."""
    seen = ""
    async with asyncio.timeout(LIMIT):
        while line := (await stream.readline()).decode():
            seen += line
            if text in line:
                return line
    raise AssertionError(f"ended without {text!r}:\n{seen}")


def as_account(url: str, user: str, password: str) -> str:
    """The same database for another account."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit(parts._replace(netloc=f"{user}:{password}@{host}"))
