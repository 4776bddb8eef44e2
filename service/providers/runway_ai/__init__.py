"""runway-ai.ai: responds with the result; no callbacks."""
