"""For trying out: a demo, a private PostgreSQL, a local receiver, a sample suite."""
