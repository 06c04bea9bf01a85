"""What brings a topology up, and the living stack that results."""
