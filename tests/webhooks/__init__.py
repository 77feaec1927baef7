"""Tests of the registry, on a real PostgreSQL."""
