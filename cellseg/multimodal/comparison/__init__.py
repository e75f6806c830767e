"""Comparing trained multimodal models: several configs and seeds, one test split, differences with intervals."""
