"""One file per dependency: how it is reached, what bounds each call, where its fallback is chosen."""
