"""Errors that a person caused or can mend.

Every error of ours that reaches a person says what is wrong, what was expected and what to do
next. The command line prints the message and the hint to stderr and exits with ``exit_code``;
anything else that escapes is a defect of ours and keeps its traceback.
"""

import re

# libpq's guesses, which stand behind what is known.
_GUESSES = re.compile(
    r" ?(Is the server running (on that host|locally) and accepting"
    r" (TCP/IP connections|connections on that socket)\?"
    r"|This probably means the server terminated abnormally before or while processing the"
    r" request\.)"
)
_EACH_HOST = re.compile(
    r"- host: '([^']*)', port: '([^']*)', hostaddr: (?:'[^']*'|None): (.*?)(?= - host: |$)"
)
_AGAIN = re.compile(r"connection (?:failed|is bad): connection to server .*? failed: ")


def words(error: Exception) -> str:
    """A foreign error on one line. Of several hosts that were tried, each with its own reason."""
    text = _GUESSES.sub("", " ".join(str(error).split()))
    _, several, hosts = text.partition("All failures were: ")
    if several and (each := _EACH_HOST.findall(hosts)):
        text = "; ".join(f"{host} port {port}: {_AGAIN.sub('', why)}" for host, port, why in each)
    return text or type(error).__name__


class CdcError(Exception):
    """A refused or failed operation, in words.

    message: what is wrong, naming the thing.
    hint:    what to do next; empty when there is nothing to add.
    """

    exit_code = 1

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(CdcError):
    """A wrong argument, option or combination of them."""

    exit_code = 2


class ConfigError(CdcError):
    """A setting is missing, unknown or out of range; the message names the key."""


class MappingError(CdcError):
    """The mapping is wrong; the message names the place in the file."""


class DatabaseError(CdcError):
    """The database is unreachable, too old, not prepared, or refuses what we need."""
