"""Values and rules. No I/O, no asyncio, no clock, no randomness, no settings."""
