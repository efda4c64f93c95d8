"""Follow one object through a video, given only its box in the first frame."""
