"""Replicate: any model by one operation, with signed webhooks."""
