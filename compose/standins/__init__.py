"""Stand-ins for what surrounds the backend: own processes that import nothing else of ours."""
