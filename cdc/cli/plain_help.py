"""Help as a person reads it, out of what typer makes of types and docstrings."""

from __future__ import annotations

from typing import Any

# Any: commands and options moved from click into typer.


def simplify(command: Any) -> None:
    """Joins the lines of each paragraph, and shows no type for options that take no value; for all
    commands of a group."""
    for below in getattr(command, "commands", {}).values():
        simplify(below)
    if command.help:
        paragraphs = command.help.split("\n\n")
        command.help = "\n\n".join(" ".join(each.split()) for each in paragraphs)
    made = command.get_params

    def get_params(ctx: Any) -> Any:
        """With --help, and --install-completion of the whole."""
        options = made(ctx)
        for option in options:
            if getattr(option, "is_flag", False):
                option.metavar = ""
        return options

    command.get_params = get_params
