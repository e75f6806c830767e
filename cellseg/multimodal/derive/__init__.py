"""Text that follows from segmentations: facts of an image, captions, questions, pairs, scores of captions, reports."""
