"""Whole scenarios, run as people run them, and broken on purpose."""
