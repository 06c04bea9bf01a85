"""The payment provider: Stripe's HTTP API with money that moves, kept on disk, and signed webhooks."""
