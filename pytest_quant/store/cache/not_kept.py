"""Not kept: why something has no entry in the cache."""


class NotKept(Exception):
    """Something is not kept in the cache; says why, as the end of a sentence."""
