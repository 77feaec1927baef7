"""The database side of the path: ownership, look, fetch, settle. Each runs ``sql/queries``."""
