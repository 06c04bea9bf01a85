"""A folder for PYTHONPATH: the backend without its cache fallback."""
