"""Layers that two or more models truly share. Knows nothing of any one model."""
