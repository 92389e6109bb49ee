"""What would mend it: recipes that were built and measured."""
