"""relay/submission."""
