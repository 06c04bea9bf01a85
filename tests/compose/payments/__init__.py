"""The payment provider, driven by the real SDK and judged beside the real stripe-mock."""
