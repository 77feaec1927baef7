"""`python -m cdc`, and what runs as `cdc`."""

import sys

from cdc import stop_signals


def main() -> None:
    """Makes the process fit to begin, before anything that takes long is imported."""
    stop_signals.hold_standard_descriptors()
    if stop_signals.asks_to_run(sys.argv[1:]):
        stop_signals.note()
    from cdc.cli import main

    main()


if __name__ == "__main__":
    main()
