"""Whether a variant is tuned on inputs like those that judge it."""
