"""Claims about the backend."""
