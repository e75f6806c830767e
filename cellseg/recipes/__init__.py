"""Many commands that belong together: trainings of folds and seeds, tuning, comparison, pooled tables."""
