"""People on disk: readers, keypoint files, pairs, and the store that serves batches."""
