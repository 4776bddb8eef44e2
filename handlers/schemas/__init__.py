"""Request and response bodies, and their public names."""
