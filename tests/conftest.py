"""What holds for every test."""

from __future__ import annotations

from hypothesis import settings

# Examples have no deadline of their own: beside real servers on two cores a slow one says nothing about the code.
settings.register_profile("house", deadline=None, print_blob=True)
settings.load_profile("house")
