"""Tests of getting onto a machine what a run needs."""
