"""Generates training pairs and clips from photos, with exact boxes."""
