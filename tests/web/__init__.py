"""`cdc serve`: the API."""
