"""The HTTP side of the backend."""
