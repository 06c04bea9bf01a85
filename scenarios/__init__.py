"""One file a claim about Social Flow under failure."""
