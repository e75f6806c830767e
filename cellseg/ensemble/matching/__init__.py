"""The second way to combine: finished instances, of members or of other programs, matched by mask IoU."""
