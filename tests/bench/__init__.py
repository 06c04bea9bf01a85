"""What the instrumentation costs, side by side in one run: `make bench`."""
