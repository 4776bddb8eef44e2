"""The emulated Luma."""
