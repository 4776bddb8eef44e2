"""Ids, timestamps, errors and JSON input."""
