"""Claims about the client of Toxiproxy's control API."""
