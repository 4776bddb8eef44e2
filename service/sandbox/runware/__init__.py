"""Runware, emulated."""
