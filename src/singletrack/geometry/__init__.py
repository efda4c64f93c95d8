"""Pure functions for boxes, crops and windows."""
