"""Recommendations: the watch history that they are learned from, the model, and the server that answers with it."""
