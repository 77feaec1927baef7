"""`python -m cdc`, and what runs as `cdc`."""

import gc
import os
import sys

from cdc import stop_signals


def main() -> None:
    """Makes the process fit to begin, before anything that takes long is imported."""
    # Modules, registrations and full windows are many objects, none of them in a circle: looking
    # through all of them again and again took a tenth of each start, a fifth of a busy daemon.
    gc.set_threshold(50_000, 50, 100)
    # Else pydantic looks through all installed packages for some that would change its models.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    stop_signals.hold_standard_descriptors()
    if stop_signals.asks_to_run(sys.argv[1:]):
        stop_signals.note()
    from cdc.cli import main

    main()


if __name__ == "__main__":
    main()
