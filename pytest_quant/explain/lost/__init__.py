"""In which layers a variant loses accuracy, and why."""
