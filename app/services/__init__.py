"""What the backend does, one file per feature, free of HTTP."""
