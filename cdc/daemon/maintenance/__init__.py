"""Care: what keeps the tables small and heals what nobody thought of. One process a file."""

from cdc.daemon.maintenance.schedule import Maintenance

__all__ = ["Maintenance"]
