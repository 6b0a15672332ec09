"""Scores of masks, and what an annotator's clicks gain."""
