"""Exports a trained network to a file that engines run without PyTorch, and verifies it."""
