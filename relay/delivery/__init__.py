"""relay/delivery."""
