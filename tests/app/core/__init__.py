"""Tests of what every part of the backend stands on."""
