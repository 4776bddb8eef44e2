"""Emulates runway-ai.ai."""
