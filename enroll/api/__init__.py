"""enroll/api."""
