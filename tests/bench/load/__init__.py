"""Processes of the benchmark. Each is a module to be run; the rest of it only talks to them."""
