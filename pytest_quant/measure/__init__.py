"""Numbers with their spread; nothing here decides."""
