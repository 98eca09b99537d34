"""enroll/pages."""
