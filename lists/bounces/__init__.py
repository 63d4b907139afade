"""Bounces: reading what came back (report.py and its parts), and what it means for a member (scoring). Pure, but for flufl.bounce's own heuristics."""
