"""What is compared: a Recipe, the Variant made after it, and the numbers that are known of it."""
