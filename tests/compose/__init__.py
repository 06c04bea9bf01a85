"""Tests of what surrounds the app: rules, configurations, stand-ins."""
