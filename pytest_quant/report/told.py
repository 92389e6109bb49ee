"""Told: which sentences a reader has had in full, so that each is told once, and from then on by name."""

from collections.abc import Iterable


class Told:
    """The sentences of one output.

    Args:
        sentences: that the reader has had before.
    """

    def __init__(self, sentences: Iterable[str] = ()) -> None:
        self._by: dict[str, str] = dict.fromkeys(sentences, "")

    def __contains__(self, sentence: object) -> bool:
        return sentence in self._by

    def add(self, sentence: str, by: str = "") -> None:
        """Note that a sentence has been told; by whom first."""
        self._by.setdefault(sentence, by)

    def by(self, sentence: str) -> str:
        """Who has told it first."""
        return self._by[sentence]

    def once(self, sentence: str, name: str, by: str) -> str:
        """The sentence for the first who tells it, who may ask again; else its name.

        Args:
            sentence: in full.
            name: that says what it is, where a reader has had it.
            by: who tells it.
        """
        self.add(sentence, by)
        return sentence if self._by[sentence] == by else name
