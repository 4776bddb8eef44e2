"""Emulates useapi.net's Runway API."""
