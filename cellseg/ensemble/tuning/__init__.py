"""Adaptive weights: the search for settings, its validation, and where the rest is lost."""
