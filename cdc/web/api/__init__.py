"""What the routes do, a module for each kind of thing."""
