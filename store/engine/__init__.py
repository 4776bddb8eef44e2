"""The two databases behind one session interface."""
