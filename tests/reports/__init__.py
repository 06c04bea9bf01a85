"""Claims about the renderings of a run folder."""
