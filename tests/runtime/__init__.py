"""Reading the Compose file and rendering it for this machine."""
