"""Care: what keeps the tables small and heals what nobody thought of. One process a file."""

from cdc.care.rounds import Care

__all__ = ["Care"]
