"""The small system of real parts on which faults are proved."""
