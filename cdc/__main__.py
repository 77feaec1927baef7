"""`python -m cdc`: the same as `cdc`."""

from cdc.cli import main

if __name__ == "__main__":
    main()
