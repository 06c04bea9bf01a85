"""A folder for PYTHONPATH: the backend without a guard against work that is asked for twice."""
