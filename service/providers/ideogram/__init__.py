"""Ideogram: images with legible text."""
