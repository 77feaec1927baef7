"""The benchmark: its arithmetic, its processes, and all of it at a tiny size."""
