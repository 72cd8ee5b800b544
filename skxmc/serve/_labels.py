"""Labels of a model: their names, and the search for them by beginnings of words."""

import bisect
import re
import unicodedata
from array import array

from .._words import nfc

# Hits that are looked at for one query. A query of a single letter has very many.
_MAX_HITS = 5000
# Characters of a label's text that are shown.
_MAX_SHOWN = 300


def fold(text):
    """Return the words of a text without case and accents, with one blank between."""
    text = unicodedata.normalize("NFKD", text.casefold())
    text = "".join(c for c in text if not unicodedata.combining(c))
    return re.sub(r"[\W_]+", " ", text).strip()


class Labels:
    """Names and texts of the labels of a fitted classifier.

    Parameters
    ----------
    classifier : fitted classifier

    Attributes
    ----------
    names : list of str
        Names from ``label_names_``.
    """

    def __init__(self, classifier):
        self.names = list(map(str, classifier.label_names_))
        self._texts = _find_texts(classifier, self.names)
        self._counts = classifier.label_counts_
        # Every word is preceded by a blank, and every label by a line break.
        lines = [f"\n {fold(self._searched(i))}" for i in range(len(self.names))]
        self._lines = "".join(lines)
        self._starts, at = array("q"), 0
        for line in lines:
            self._starts.append(at)
            at += len(line)
        # The first label of a name, as in tables.
        self._ids = {nfc(self.names[i]): i for i in reversed(range(len(self.names)))}

    def find(self, name):
        """Return the id of the first label of a name, or None."""
        return self._ids.get(nfc(name))

    def __len__(self):
        return len(self.names)

    def describe(self, label):
        """Return the id, the name and, if there is one, the text of a label."""
        found = {"id": label, "name": self.names[label]}
        if self._texts is not None and self._texts[label] != self.names[label]:
            found["text"] = self._texts[label][:_MAX_SHOWN]
        return found

    def search(self, query, limit):
        """Find labels in which each word of a query begins a word.

        Parameters
        ----------
        query : str
        limit : int

        Returns
        -------
        list of int
            Labels that begin with the query, then those that contain it, then all
            others; within each of these, labels with more training documents first.
        """
        query = fold(query)
        if not query:
            return []
        words = [f" {word}" for word in query.split()]
        found = dict.fromkeys(self._hits(f"\n {query}"))
        n_first = len(found)
        found |= dict.fromkeys(self._hits(f" {query}"))
        n_second = len(found)
        if len(words) > 1:
            for label in self._hits(max(words, key=len)):
                line = self._line(label)
                if all(word in line for word in words):
                    found.setdefault(label)
        ids = list(found)
        groups = ids[:n_first], ids[n_first:n_second], ids[n_second:]
        ranked = [
            label
            for group in groups
            for label in sorted(group, key=lambda i: -int(self._counts[i]))
        ]
        return ranked[:limit]

    def _searched(self, label):
        text = "" if self._texts is None else self._texts[label]
        name = self.names[label]
        return name if text == name else f"{name} {text}"

    def _line(self, label):
        end = self._starts[label + 1] if label + 1 < len(self) else len(self._lines)
        return self._lines[self._starts[label] : end]

    def _hits(self, part):
        """Yield the labels whose lines hold a text, some of them repeatedly."""
        at = -1
        for _ in range(_MAX_HITS):
            at = self._lines.find(part, at + 1)
            if at < 0:
                return
            yield bisect.bisect_right(self._starts, at) - 1


def _find_texts(classifier, names):
    """Return the label texts of a classifier or of a member of an ensemble, or None."""
    members = getattr(classifier, "estimators_", [])
    for each in [classifier, *members]:
        # Labels may have changed since the fit, and old models lack label_texts_.
        for name in ("label_texts_", "label_texts"):
            texts = getattr(each, name, None)
            if texts is not None and len(texts) == len(names):
                return list(map(str, texts))
    return None
