"""A folder for PYTHONPATH: the backend that asks for each task twice."""
