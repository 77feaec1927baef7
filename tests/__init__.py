"""The test suite. `make test` runs it on an embedded PostgreSQL; nothing outside is touched."""
