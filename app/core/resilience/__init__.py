"""What bounds a call: deadline, timeout, bulkhead, circuit breaker, single flight; `guard` puts them together."""
