"""Bounces: return paths made and read (`address`), reports to senders written (`report`)."""
