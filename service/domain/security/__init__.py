"""Signatures, API keys, address policy and redaction."""
