"""A variant as one file, and back again."""
