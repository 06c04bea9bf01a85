"""A folder for PYTHONPATH: the backend without a way back from the local store."""
