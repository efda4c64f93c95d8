"""Arithmetic on boxes and pixels: pure functions of arrays. Knows nothing of networks, video or torch."""
