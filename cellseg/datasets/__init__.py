"""Data sets: readers of the usual forms, preparation of one data folder, folds, repair, synthetic images."""
