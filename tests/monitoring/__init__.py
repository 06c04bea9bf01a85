"""Tests of the runtime's monitoring: time scale, backfill, clients, recorders."""
