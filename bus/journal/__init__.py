"""Items on disk, behind one small interface (api.py). sqlite.py is what sites use; memory.py serves the simulator."""
