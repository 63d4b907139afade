"""Starts every other process of a site, watches them, replaces what dies or hangs, and ends them in order."""
