"""The emulated Replicate."""
