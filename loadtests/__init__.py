"""Open-loop load: the arrivals, their journeys and their ledger."""
