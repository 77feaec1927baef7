"""The demo: its account is pure and tested without anything real; its command is run for real."""
