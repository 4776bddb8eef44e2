"""Runware: task arrays, one callback per result."""
