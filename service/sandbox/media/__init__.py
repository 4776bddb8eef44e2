"""Small pictures, videos, sounds and 3D models, drawn from the token in their URL."""
