"""A typed client of Toxiproxy's control API."""
