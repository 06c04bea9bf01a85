"""The Social Flow backend."""
