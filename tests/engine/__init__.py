"""Claims about engine."""
