"""The map over the batches of the eval data, on more than one process."""
