"""Claims about checks."""
