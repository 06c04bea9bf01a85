"""Claims about scenarios."""
