"""Luma: videos and images of Dream Machine."""
