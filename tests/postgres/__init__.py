"""What others in the database do to us: publications, event triggers, companies that are gone."""
