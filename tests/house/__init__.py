"""The floors, checked by machine."""
