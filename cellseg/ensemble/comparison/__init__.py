"""Members, votes and ensemble side by side, with intervals; of one fold and of several."""
