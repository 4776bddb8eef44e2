"""runway-ai.ai: answers with the result, no callbacks."""
