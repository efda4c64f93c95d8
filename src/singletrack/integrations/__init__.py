"""Doors for other people's programs. Each imports its program only when it is opened; the rest knows of none."""
