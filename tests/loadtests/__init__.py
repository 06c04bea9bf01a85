"""Claims about the load: its ledger, its generator and what Locust's web UI shows."""
