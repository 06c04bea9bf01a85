"""Claims about the model of recommendations and the server that answers with it."""
