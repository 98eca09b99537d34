"""Whole walks through the relay."""
