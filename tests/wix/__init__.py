"""Senders and sending domains, in Wix's shape and as services."""
