"""All measurements and verdicts of a run, as data, tables and pages."""
