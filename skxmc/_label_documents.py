"""Texts of labels as training documents, as LightDXML has them."""

import numpy as np
import scipy.sparse as sp

from ._validation import check_label_texts

__all__ = ["LabelDocumentsMixin", "add_label_texts", "repeats_label_text"]


class LabelDocumentsMixin:
    """Adds the texts of labels to the documents of a `BaseXMCClassifier`."""

    def _add_documents(self, X, Y):
        if self.label_texts is None:
            return X, Y
        return add_label_texts(X, Y, self.label_texts)

    def _find_repeated_texts(self, X):
        if self.label_texts is None:
            return np.zeros(self.n_docs_, bool)
        return repeats_label_text(X, self.n_docs_)


def add_label_texts(X, Y, label_texts):
    """Add the text of each label as a document that has this label alone.

    Parameters
    ----------
    X : list of str
    Y : csr matrix of shape (n_docs, n_labels)
    label_texts : sequence of str
        Blank texts are left out.

    Returns
    -------
    X : list of str
        The documents, and then the texts of labels.
    Y : csr matrix of shape (n_docs + n_texts, n_labels)
    """
    texts = check_label_texts(label_texts, Y.shape[1])
    labels = np.flatnonzero([bool(text.strip()) for text in texts])
    Y_texts = sp.csr_array(
        (np.ones(len(labels), Y.dtype), labels, np.arange(len(labels) + 1)),
        shape=(len(labels), Y.shape[1]),
    )
    X = [*X, *(texts[label] for label in labels)]
    return X, sp.vstack([Y, Y_texts], format="csr")


def repeats_label_text(X, n_user_docs):
    """Return which of the user's documents have the words of a label's text.

    Parameters
    ----------
    X : list of str
        What `add_label_texts` returned.
    n_user_docs : int
        Number of the user's documents.

    Returns
    -------
    bool ndarray of shape (n_user_docs,)
    """
    texts = {_normalize(text) for text in X[n_user_docs:]}
    return np.array([_normalize(text) in texts for text in X[:n_user_docs]], bool)


def _normalize(text):
    return " ".join(text.lower().split())
