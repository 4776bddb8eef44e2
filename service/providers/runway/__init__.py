"""Runway's own API, which has no callbacks."""
