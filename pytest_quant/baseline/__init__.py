"""A saved run: its numbers and scores, and what changed since."""
