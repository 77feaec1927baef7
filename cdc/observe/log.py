"""Structured logs: JSON for machines, pleasant lines on a terminal; always on stderr."""

from __future__ import annotations

import logging
import sys

import structlog


def configure_logging(form: str = "auto", level: str = "info", process: int | None = None) -> None:
    """form: ``json``, ``text`` or ``auto`` (text on a terminal). level: a name of logging's.

    process: number of this process, where one parent has several; each line tells it.
    """
    json = form == "json" or (form == "auto" and not sys.stderr.isatty())
    processors: list[structlog.typing.Processor] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    if process is not None:
        structlog.contextvars.bind_contextvars(process=process)
        processors.insert(0, structlog.contextvars.merge_contextvars)
    if json:
        processors += [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    else:
        processors.append(structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty()))
    structlog.configure(
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(
            logging.getLevelNamesMapping()[level.upper()]
        ),
        # Each line in one write: several processes share one stderr.
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
