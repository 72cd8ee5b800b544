"""Sets of parameters by how long a fit may take, for all systems in one place."""

# What the papers do not have.
_PAPER_READING = dict(
    reading="texts",
    trained_layers="all",
    bag_of_words=False,
    neighbor_weight=0,
    label_init="random",
    encoder_dropout=None,
)
# X-GRank reads words instead of texts ("low"), reads each text once ("medium"), or
# trains the two top layers of the encoder ("high"). "paper" is Table II for large label
# sets, in 20 epochs.
_READ_ONCE = dict(
    bag_of_words=True,
    n_negatives=128,
    label_learning_rate=0.3,
    trained_layers=0,
    max_epochs=8,
    neighbor_weight="auto",
)
GRANK = {
    "low": _READ_ONCE | dict(reading="words", max_epochs=4),
    "medium": _READ_ONCE | dict(reading="texts"),
    "high": _READ_ONCE | dict(reading="texts", trained_layers=2),
    "paper": _PAPER_READING
    | dict(
        n_negatives=None,
        label_learning_rate=None,
        max_epochs=20,
        batch_size=64,
        learning_rate=1e-4,
        head_learning_rate=1e-4,
    ),
}
# "paper" are the settings of Amazon-670K.
LIGHTXML = {
    "medium": dict(
        trained_layers=0,
        bag_of_words=True,
        neighbor_weight="auto",
        max_epochs=8,
        batch_size=64,
        schedule="linear",
        swa_start=None,
    ),
    "paper": _PAPER_READING
    | dict(
        max_epochs=15,
        batch_size=16,
        learning_rate=1e-4,
        head_learning_rate=1e-4,
        schedule="constant",
        swa_start=0.27,
        swa_every=3000,
    ),
}
# Eq. 2 to 8 as they are written, with relu instead of the softmax of Eq. 6, with which
# nothing is learned; the rates are those of the released code. Eq. 4 and 7 are sums
# over the documents of a batch, and Eq. 3 is a mean: hence its weight.
GUDN = {
    "paper": _PAPER_READING
    | dict(
        variant="paper",
        feature_reduction="sum",
        loss_reduction="sum",
        feature_weight=1 / 8,
        max_epochs=20,
        batch_size=8,
        learning_rate=5e-5,
        head_learning_rate=5e-5,
    )
}
# Table V of LightDXML for EURLex-4K. Batch sizes, dropout, the width and rate of the
# label encoder, and the constant rate of the first 13 epochs are those of the released
# code.
LIGHTDXML = {
    "paper": dict(
        neighbor_weight=0,
        token_vectors=None,
        ngram_range=(1, 1),
        label_init="random",
        label_text_negatives=1.0,
        label_hidden_dim=1000,
        label_epochs=8,
        label_batch_size=256,
        label_learning_rate=3e-3,
        refresh_every=8,
        n_shortlist=500,
        predict_shortlist=500,
        n_frequent=0,
        beta=0.75,
        dropout=0.5,
        max_epochs=16,
        batch_size=255,
        learning_rate=6e-3,
        head_learning_rate=6e-3,
        schedule="constant",
    )
}
# The paper states neither batches nor epochs. At its rate, small batches make up for a
# small number of documents: a step moves each weight by no more than 1e-4.
TREADERXML = {
    "paper": dict(
        neighbor_weight=0,
        label_init="random",
        neighbor_weights="none",
        max_length=500,
        dropout=0.0,
        loss_reduction="sum",
        batch_size=8,
        max_epochs=20,
        learning_rate=1e-4,
        head_learning_rate=1e-4,
        weight_decay=0.0,
        warmup=0.0,
        schedule="constant",
    )
}


class EffortMixin:
    """Gives a classifier ``with_effort``; a subclass lists its sets in `_efforts`."""

    _efforts = {}

    @classmethod
    def with_effort(cls, effort, **parameters):
        """Make a classifier with parameters for a longer or shorter training.

        Parameters
        ----------
        effort : {"low", "medium", "high", "paper"}
            How long training may take. On ICD-10-CM, with 59,456 phrases, "low" of
            GRankClassifier takes 4, "medium" 8 and "high" 21 core-minutes, and each
            ranks labels better than the one before. "paper" is the recipe of the paper.
            GRankClassifier has all four, LightXMLClassifier "medium" and "paper", and
            the other classifiers "paper". No set changes `encoder`.
        **parameters
            Parameters that are set otherwise.

        Returns
        -------
        classifier
            An unfitted classifier. Its ``get_params()`` shows what has been chosen.

        Raises
        ------
        ValueError
            If the classifier has no such set.

        Examples
        --------
        >>> from skxmc import GRankClassifier
        >>> GRankClassifier.with_effort("paper", batch_size=32).label_init
        'random'
        """
        if not isinstance(effort, str) or effort not in cls._efforts:
            raise ValueError(
                f"effort must be one of {tuple(cls._efforts)} for {cls.__name__}, got "
                f"{effort!r}."
            )
        return cls(**cls._efforts[effort] | parameters)
