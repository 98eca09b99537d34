"""relay/base."""
