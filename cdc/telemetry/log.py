"""Structured logs: JSON for machines, pleasant lines on a terminal; always on stderr."""

from __future__ import annotations

import logging
import sys

from cdc.telemetry.logfile import LogFile
from cdc.telemetry.plain import structlog


def is_json(form: str) -> bool:
    """Whether this form of log is lines of JSON here."""
    return form == "json" or (form == "auto" and not _terminal())


def _terminal() -> bool:
    # None where the process was started with it closed.
    return sys.stderr is not None and sys.stderr.isatty()


def configure_logging(
    form: str = "auto", level: str = "info", process: int | None = None
) -> LogFile:
    """Returns where the lines go.

    form: ``json``, ``text`` or ``auto`` (text on a terminal). level: a name of logging's.

    process: number of this process, where one parent has several; each line has it.
    """
    terminal = _terminal()
    json = is_json(form)
    file = LogFile(sys.stderr)
    processors: list[structlog.typing.Processor] = [
        file.tell_lost,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    if process is not None:
        structlog.contextvars.bind_contextvars(process=process)
        processors.insert(0, structlog.contextvars.merge_contextvars)
    if json:
        processors += [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    else:
        processors.append(
            structlog.dev.ConsoleRenderer(
                colors=terminal, exception_formatter=structlog.dev.plain_traceback
            )
        )
    structlog.configure(
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(
            logging.getLevelNamesMapping()[level.upper()]
        ),
        logger_factory=lambda *_: file,
        cache_logger_on_first_use=True,
    )
    return file
