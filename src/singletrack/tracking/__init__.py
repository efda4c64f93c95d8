"""From one frame to the next: trackers, each holding the state of one target. Knows nothing of engines or torch."""
