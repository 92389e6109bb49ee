"""Methods: how variants of each kind are made, one file each."""
