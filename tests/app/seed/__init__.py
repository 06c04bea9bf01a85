"""Claims about the seeded world."""
