"""What was built and evaluated before, kept on disk under a digest of all that it depends on."""
