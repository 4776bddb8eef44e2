"""runway-ai.ai, emulated."""
