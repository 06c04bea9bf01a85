"""One file a fault family: how to bring it into force, prove it, and undo it."""
