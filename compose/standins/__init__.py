"""Stand-ins for what surrounds the backend; each is a process of its own and imports nothing else of this project."""
