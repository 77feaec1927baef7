"""Schema cdc: its tables as SQLAlchemy knows them, and its migrations."""
