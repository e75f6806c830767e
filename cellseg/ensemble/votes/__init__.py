"""The vote: evidence in common windows becomes masks without overlaps."""
