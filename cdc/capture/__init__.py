"""Mapping -> triggers: render, check, plan, install, verify, remove."""
