"""A small world to live in: `python -m app.seed` fills an empty system with users, videos and thumbnails."""
