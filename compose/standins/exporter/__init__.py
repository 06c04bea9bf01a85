"""The exporter: are Redis and PostgreSQL up, how long is the queue; true also while they hang."""
