"""Keys, passwords, tokens and one-time codes: all that decides who somebody is."""
