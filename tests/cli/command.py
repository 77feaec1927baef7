"""Runs `cdc` as a person would, within this process."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from typer.testing import CliRunner

from cdc.cli import app


@dataclass(frozen=True, slots=True)
class Done:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """stdout, which must be JSON and nothing else."""
        return json.loads(self.out)


@dataclass(slots=True)
class Command:
    """The command line with settings of its own. Anything but an orderly exit raises."""

    env: dict[str, str] = field(default_factory=dict)

    def __call__(self, *arguments: object, stdin: str | bytes | None = None) -> Done:
        # No terminal has this width, so no cell of a table is folded.
        env = {"COLUMNS": "1000", **self.env}
        result = CliRunner().invoke(app, [str(a) for a in arguments], input=stdin, env=env)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return Done(result.exit_code, result.stdout, result.stderr)

    def good(self, *arguments: object, stdin: str | bytes | None = None) -> Done:
        done = self(*arguments, stdin=stdin)
        assert done.code == 0, done
        return done

    def json(self, *arguments: object, stdin: str | bytes | None = None) -> Any:
        return self.good(*arguments, "--json", stdin=stdin).json

    def refused(self, *arguments: object, code: int = 1, stdin: str | bytes | None = None) -> str:
        """What a refused command says: one error, its hint, and nothing on stdout."""
        done = self(*arguments, stdin=stdin)
        assert done.code == code, done
        assert done.out == ""
        assert "Traceback" not in done.err
        return done.err

    def add(self, company: str = "1", event: str = "project_changed", **options: object) -> Any:
        """Registers a webhook; options as `url=...`."""
        options = {"url": "http://127.0.0.1:9/hook", **options}
        named = [part for name, value in options.items() for part in (f"--{name}", value)]
        return self.json("webhook", "add", "--company", company, "--event", event, *named)
