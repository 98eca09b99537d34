"""Bounces: return paths made and read (`address`), reports written (`report`), read (`parse`), applied (`record`)."""
