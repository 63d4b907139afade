"""Brings an item from the front-end to one runner at a time, whatever crashes. Never looks into a message."""
