"""The part that acts: runner, injectors, journal, watchdog, probes, load."""
