"""Bounces: return paths and the message header made and read (`address`, `header`), reports written (`report`), read (`parse`), applied (`record`)."""
