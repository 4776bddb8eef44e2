"""Subscriptions and their filters."""
