"""Trackers: each holds the state of one target and follows it from frame to frame."""
