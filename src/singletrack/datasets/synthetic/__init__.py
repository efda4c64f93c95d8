"""Pairs and clips made from pictures, with exact boxes. Knows nothing of recorded data sets or of training."""
