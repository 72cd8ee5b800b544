"""GUDN's label branch: what it reads of the labels in training."""

import warnings

import numpy as np

from ._stored_words import transform_words
from .nn.encoder_files import load_encoder
from .nn.named_examples import NamedExamples, special_tokens
from .nn.text import tokenize

# Largest number of tokens of names if label_length is None: the paper's, which fills
# them up to 512 for a Longformer that reads 4,096 tokens of a text too.
_MAX_LABEL_LENGTH = 512


def load_pooler(encoder, model):
    """Return the pretrained pooler of an encoder, or None if there is none to find.

    Parameters
    ----------
    encoder : str, path, or (model, tokenizer)
    model : PreTrainedModel
        Transformer that the pooler must suit.
    """
    try:
        pretrained, _ = load_encoder(encoder)
    except OSError:  # the classifier may have come here without its encoder
        return None
    same = pretrained.config.hidden_size == model.config.hidden_size
    return getattr(pretrained, "pooler", None) if same else None


class LabelBranchMixin:
    """What GUDN's label branch reads: names of a document's labels, or their columns.

    It is for a subclass of `BaseXMCClassifier` with the parameters `label_texts`,
    `label_branch`, `variant`, `feature_weight`, `link_weight`, `label_reinforcement`,
    `label_length`, `bag_of_words` and `reading` (see `GUDNClassifier`).
    """

    def _check_fit(self, X, y):
        X, Y = super()._check_fit(X, y)
        if self._has_label_branch():
            self._check_label_branch()
        return X, Y

    def _check_label_branch(self):
        """Refuse a label branch that has nothing to read, and warn of a weak one."""
        if self._uses_label_names and self.reading == "words":
            raise ValueError(
                'reading="words" leaves no transformer that could read label names: '
                'set reading="texts", or label_branch="multi-hot", or feature_weight=0 '
                "and link_weight=0."
            )
        missing = None
        if not self._texts:
            missing = "X is a feature matrix, so label names cannot be read"
        elif self.label_texts is None:
            missing = "label_texts is None"
        elif not self._has_names():
            missing = "all label_texts are blank"
        if missing and self.label_branch == "names":
            raise ValueError(
                f'{missing}, and label_branch="names" needs label names: give X as '
                'texts together with label_texts, or set label_branch="multi-hot".'
            )
        if missing and self.label_branch == "auto":
            warnings.warn(
                f"{missing}: the label branch reads label columns instead of names, "
                "which improves results less. Give X as texts and label_texts if you "
                'have them. Set label_branch="multi-hot" if columns are meant, or '
                "feature_weight=0 and link_weight=0 to train without the branch.",
                UserWarning,
                stacklevel=5,
            )
        only_link = not self._uses_label_names and not self.feature_weight
        # With label columns, the paper's label branch has an encoder, an extractor and
        # a classifier of its own. Without clusters, no label vectors are shared either.
        if only_link and self.variant == "paper" and self._ranks_all_labels():
            warnings.warn(
                'With variant="paper" and label columns, the label branch shares no '
                "weights with the texts, so the link loss alone cannot guide them: "
                "give label_texts, or a feature_weight above 0.",
                UserWarning,
                stacklevel=5,
            )

    @property
    def _uses_label_names(self):
        """Whether the label branch reads label names, rather than label columns."""
        return (
            self._has_label_branch()
            and self.label_branch != "multi-hot"
            and self._texts
            and self.label_texts is not None
            and self._has_names()
        )

    def _has_names(self):
        """Return whether a label text is more than white space and underscores."""
        # The first name settles it, so that millions of texts are not converted here.
        return any(str(text).replace("_", " ").strip() for text in self.label_texts)

    def _count_words(self, names):
        """Return the TF-IDF rows of the names, or None without a bag of words."""
        if not self.bag_of_words:
            return None
        return transform_words(self.vectorizer_, names)

    def _has_label_branch(self):
        return self.feature_weight > 0 or self.link_weight > 0

    def _get_label_length(self):
        return self.label_length or min(self.max_length_, _MAX_LABEL_LENGTH)

    def _make_named_examples(self, encoder, docs, Y, rows, rng):
        # Names follow each other in one text. With a blank before them, tokenizers that
        # tell the beginning of a text apart (RoBERTa) see them as they see other words.
        names = [f" {name.strip()}".rstrip() for name in self._get_label_texts()]
        length = self._get_label_length()
        tokens = tokenize(names, self.tokenizer_, length, special=False)
        if not tokens.lengths.any():
            raise ValueError(
                "The tokenizer finds no token in any of label_texts, the first of "
                f"which is {names[0].strip()!r}. Give names in the tokenizer's "
                'language, or set label_branch="multi-hot".'
            )
        examples = NamedExamples(
            docs,
            Y,
            rows,
            tokens,
            length=length,
            special=special_tokens(self.tokenizer_, self.label_prompt_),
            reinforcement=self.label_reinforcement,
            rng=np.random.default_rng(rng.integers(2**31)),
            words=self._count_words(names),
        )
        if encoder.is_fixed or encoder.keeps_states:
            examples.read_once(lambda names: self._read_once(encoder, names, ()))
        return examples
