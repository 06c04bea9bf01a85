"""What runs beside requests: media work, in processes that have limits."""
