"""What people make of a followed target: a view that follows it, privacy, trails, heat maps, spotlights."""
