"""Limits on measurements: PASS, FAIL or INCONCLUSIVE, each with its evidence."""
