"""Pure functions that turn recorded evidence into findings."""
