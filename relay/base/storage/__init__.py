"""relay/base/storage."""
