"""`python -m cdc`, and what runs as `cdc`."""

import sys

from cdc import stopping


def main() -> None:
    """Makes the process fit to begin, before anything that takes long is imported."""
    stopping.hold_standard_descriptors()
    if stopping.asks_to_run(sys.argv[1:]):
        stopping.note()
    from cdc.cli import main

    main()


if __name__ == "__main__":
    main()
