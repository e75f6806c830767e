"""One door to training: configs are loaded, bound to a data folder and handed to their engine."""
