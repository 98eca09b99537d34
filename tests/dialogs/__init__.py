"""Conversations as scripts."""
