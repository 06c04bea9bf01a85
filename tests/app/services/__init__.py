"""Claims about the backend's services."""
