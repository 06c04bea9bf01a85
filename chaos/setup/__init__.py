"""Get what a run needs onto this machine, find it, and say what is missing."""
