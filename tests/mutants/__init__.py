"""Mutation tests: small wrong changes of the code, each of which some test should notice."""
