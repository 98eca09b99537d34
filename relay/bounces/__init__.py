"""relay/bounces."""
