"""The models that are served, by name."""

import re
from dataclasses import dataclass
from pathlib import Path

from ._labels import Labels

_NAME = re.compile(r"[\w.-]{1,64}")


@dataclass(frozen=True)
class Model:
    """A fitted classifier, and its labels."""

    name: str
    classifier: object
    labels: Labels

    def describe(self):
        """Return what a client may want to know of the model."""
        return {
            "name": self.name,
            "system": type(self.classifier).__name__,
            "labels": int(self.classifier.n_labels_),
            "documents": int(self.classifier.n_docs_),
        }


def parse_models(arguments):
    """Return folders by name, from arguments of the form FOLDER or NAME=FOLDER.

    Without a name, a model is called as its folder.
    """
    folders = {}
    for argument in arguments:
        name, named, folder = argument.partition("=")
        # A folder may have = in its own name.
        if not named or "/" in name or Path(argument).is_dir():
            name, folder = Path(argument).resolve().name, argument
        if not _NAME.fullmatch(name):
            raise ValueError(
                f"A model cannot be called {name!r}: give it a name of letters, "
                "digits and - . _ by NAME=FOLDER."
            )
        if name in folders:
            raise ValueError(
                f"Two models are called {name!r}: give them names by NAME=FOLDER."
            )
        folders[name] = folder
    return folders


def check_models(classifiers):
    """Return a `Model` for each fitted classifier.

    Parameters
    ----------
    classifiers : dict of str to fitted classifier
    """
    if not classifiers:
        raise ValueError("There are no models to serve.")
    for name, classifier in classifiers.items():
        if not getattr(classifier, "_texts", True):
            raise ValueError(
                f"The model {name!r} was fitted on a feature matrix, and the service "
                "takes texts: fit a model on texts."
            )
    return {name: Model(name, c, Labels(c)) for name, c in classifiers.items()}
