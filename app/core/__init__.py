"""What every part of the backend stands on: settings, logs, metrics, errors, resilience."""
