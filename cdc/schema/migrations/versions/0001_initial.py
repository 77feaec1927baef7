"""The first release."""

from cdc.schema.migrations import steps

revision = "0001"
down_revision = None


def upgrade() -> None:
    steps.run(__file__)
