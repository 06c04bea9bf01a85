"""What every runtime promises, tested on a small system of real parts."""
