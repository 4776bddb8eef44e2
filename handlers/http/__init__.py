"""HTTP mechanics shared by all endpoints."""
