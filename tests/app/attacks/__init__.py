"""Attacks, each of which succeeds when its defence is taken away."""
