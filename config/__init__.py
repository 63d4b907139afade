"""Settings, names, the clock and the log: what every process needs first. Imports nothing of ours."""
