"""Pure values that pass between the parts of the engine."""
