"""posthouse."""
