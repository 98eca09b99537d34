"""Bounces and complaints.

`address` makes and reads return paths, `header` the field X-Posthouse-Message; `report` writes reports, `parse` reads
them, `record` applies them.
"""
