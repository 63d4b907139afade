"""Starts, watches, restarts, scales and drains every other process. Does no mail work."""
