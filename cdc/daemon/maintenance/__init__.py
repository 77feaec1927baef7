"""Maintenance: keeps the tables small and heals what was not expected. One job a file."""

from cdc.daemon.maintenance.schedule import Maintenance

__all__ = ["Maintenance"]
