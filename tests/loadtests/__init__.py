"""Claims about loadtests."""
