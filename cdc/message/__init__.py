"""Row -> payload -> signed request. Pure."""
