"""A folder for PYTHONPATH: the backend without an outbox."""
