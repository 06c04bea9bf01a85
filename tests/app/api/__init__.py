"""Claims about the HTTP side of the backend."""
