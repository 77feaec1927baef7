"""What daemons under test need."""

from tests.daemon.conftest import suite_url, world

__all__ = ["suite_url", "world"]
