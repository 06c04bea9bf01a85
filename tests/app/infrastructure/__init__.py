"""Tests against real servers, one file per dependency."""
