"""A folder for PYTHONPATH: the backend with nobody who looks for lost work."""
