"""Every variant of a run, built once and looked up by what it depends on."""
