"""The exporter: whether Redis and PostgreSQL are up and how long the queue is, true also while they hang."""
