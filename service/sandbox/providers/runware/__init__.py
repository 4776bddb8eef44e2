"""Emulates Runware (https://runware.ai/docs)."""
