"""The database side of the road: ownership, look, fetch, settle. Each runs ``sql/queries``."""
