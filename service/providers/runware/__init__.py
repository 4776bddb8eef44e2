"""Runware: arrays of tasks, one callback for each result."""
