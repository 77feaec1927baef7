"""Random input at every door: a clear error or success, never a traceback."""
