"""The chaos engine: starts a stack, drives load, breaks things, heals them, and judges the evidence."""
