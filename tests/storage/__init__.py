"""Storage, on both engines."""
