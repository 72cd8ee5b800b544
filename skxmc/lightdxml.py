"""LightDXML: the estimator; its network is in nn/networks/lightdxml.py."""

import numbers

import torch

from ._bag_documents import BagDocumentsMixin
from ._clustering_classifier import random_vectors
from ._efforts import LIGHTDXML
from ._label_documents import LabelDocumentsMixin
from ._lightdxml_labels import continue_split, inherit_classifier, split_labels
from ._mixture import DEFAULT_BETA, select_beta
from ._parameters import fill_docstring
from ._sample_weights import sum_weights
from ._shortlist import ShortlistMixin
from ._shortlist_search import choose_exact_search
from ._token_vectors import (
    check_needs_texts,
    check_words,
)
from ._validation import (
    check_choice,
    check_label_texts,
    check_ngram_range,
    check_number,
)
from .base import BaseXMCClassifier
from .nn.heads import LabelScores
from .nn.label_cycle import ShortlistedExamples
from .nn.networks.lightdxml import LightDXMLNetwork
from .nn.search import NearestVectors
from .nn.sparse_encoder import LabelEncoder
from .nn.state import nothing, number

__all__ = ["LightDXMLClassifier"]


@fill_docstring
class LightDXMLClassifier(
    BagDocumentsMixin, LabelDocumentsMixin, ShortlistMixin, BaseXMCClassifier
):
    """LightDXML: shortlist labels by their vectors, then classify only these.

    The vector of a document is the sum of its words' vectors, weighted by TF-IDF,
    passed through a residual block [1]_. The vector of a label is the mean of its
    documents, or what a label encoder makes of it (``label_epochs``). The labels whose
    vectors are nearest to a document are its shortlist. A one-vs-all classifier learns
    from the positives and the shortlist of each document, and the documents' vectors
    change as it learns. Label vectors are therefore renewed every few epochs. There is
    no transformer: the system trains on a CPU in minutes.

    Three things go beyond the paper. Word vectors start from a latent semantic analysis
    (``token_vectors``), the classifier starts from the label vectors (``label_init``),
    and frequent labels are classified for every document (``n_frequent``).

    Parameters
    ----------
    Encoder: how documents become vectors

    %(token_vectors)s
        A vector v is stored as (v, -v) and brought to length one, so that the ReLU of
        the model loses nothing. An n-gram starts at the mean of its words' vectors.
    ngram_range : (int, int), default=(1, 1)
        Shortest and longest sequence of words that is a feature of texts. A word
        consists of letters, digits and underscores, with their combining marks. For any
        other features, put a vectorizer before this classifier in a Pipeline.
    min_df : int or None, default=None
        Minimum number of documents that contain a feature, as in TfidfVectorizer (term
        frequencies are logarithmic). None means 2, or 1 if 2 would leave more than one
        document in ten without any feature, as happens with few documents.
    max_features : int or None, default=200_000
        Maximum number of features, as in TfidfVectorizer: the most frequent are kept.
        None keeps all of them.
    dropout : float, default=0.3
        Dropout rate on the document vectors and in the residual block. The released
        code uses 0.5.

    Labels: their texts, vectors and shortlists

    %(label_texts)s
        Each text counts as one more training document of its label, so that labels
        without documents can be predicted too. If given, X must be texts.
    label_text_negatives : float, default=0.1
        Weight of the negatives of these texts in the loss. A label's text has this
        label alone, and the labels that documents have together with it are among its
        negatives. 1 makes the texts documents like any other.
    label_dim : int or None, default=None
        Width of the word, document and label vectors. None means 300, as in the paper,
        or twice the width of the vectors given as `token_vectors`.
    label_init : {"documents", "random"}, default="documents"
        Initial weights of the classifier: the first label vectors, or random ones.
    label_hidden_dim : int or None, default=None
        Width between the two maps of the label encoder, at least `label_dim`. None
        means twice `label_dim`. The paper uses 600 to 2,400.
    label_activation : {"relu", "none"}, default="relu"
        Activation of the label vectors. Eq. 4 has a ReLU, the released code has none.
    label_epochs : int, default=0
        Number of passes over the pairs of a document and a label each time the label
        encoder is trained. 0 leaves it as it starts: the vector of a label is the mean
        of its documents. The paper uses 4 to 8.
    label_batch_size : int, default=256
        Number of pairs in a training step of the label encoder. The released code uses
        256 or 512.
    label_learning_rate : float, default=1e-3
        Constant learning rate of the label encoder. The released code uses 2e-4 to
        3e-3.
    refresh_every : int or None, default=5
        Number of epochs after which the label vectors are renewed and the documents
        get new shortlists. None means only once, before the first epoch. The
        paper uses 4 to 9.
    n_shortlist : int, default=50
        Number of labels shortlisted per document in training. The paper uses 500 to
        650.
    n_frequent : int, default=1024
        Number of labels with the most documents that are classified for every document.
        The cosine, which knows nothing of frequency, often misses them. 0 is the
        paper's method.
    n_random_negatives : int, default=0
        Number of labels drawn at random and added to each shortlist in training.
    search : {"auto", "exact", "hnsw"}, default="auto"
        How shortlists are found: by the product with all label vectors ("exact"), or in
        a graph ("hnsw", needs hnswlib). "auto" is exact on a GPU; on a CPU it is exact
        for up to 20,000 labels at prediction and up to 200,000 for the training
        documents.

    Training: objective, optimizer and held-out documents

    %(label_weight)s
    %(max_epochs)s
        The paper uses 16 or 21.
    %(batch_size)s
        The released code uses 255.
    %(accumulate)s
    learning_rate : float or "auto", default="auto"
        Peak learning rate of the word vectors and the residual block. "auto" means
        0.012 divided by the mean sum of a document's feature weights, so that a step
        moves a document of two hundred words no farther than one of eight. The paper
        uses 0.006 to 0.009 for all weights.
    head_learning_rate : float, default=2e-2
        Peak learning rate of the classifier.
    %(weight_decay)s
    %(warmup)s
    %(schedule)s
    %(clip_norm)s
    %(swa_start)s
    %(swa_every)s
    %(validation_fraction)s
    %(early_stopping)s
    %(n_iter_no_change)s
    %(tol)s

    Prediction: which labels are returned, and their names

    predict_shortlist : int, default=20
        Number of labels shortlisted per document at prediction. Only these and the
        frequent labels can be predicted. The classifier hardly knows what lies beyond
        `n_shortlist`. Set more than 20 if documents have many rare labels.
    beta : float or "auto", default="auto"
        Weight of the classifier's probability at prediction; 1 - beta is the weight of
        the sigmoid of the shortlist's cosine. "auto" means 0.75, unless 0, 0.25, 0.5 or
        1 is better on the held-out documents by more than two standard errors. What
        counts is the mean of P@1 and P@k, where k is the mean number of labels of a
        document, at most 5. The paper uses 0.1 to 1.
    shortlist_temperature : float, default=1.0
        Number by which the cosines are divided before the sigmoid. Lower values tell
        near labels apart more sharply.
    %(neighbor_weight)s
    %(n_voters)s
    %(label_texts_vote)s
    %(label_names)s
    %(top_k)s

    Running: device, precision, checkpoints and messages

    %(device)s
    %(precision)s
    %(checkpoint_dir)s
    %(resume)s
    %(warm_start)s
    %(random_state)s
    %(verbose)s

    Attributes
    ----------
    %(classes_)s
    %(n_labels_)s
    %(n_docs_)s
    %(n_features_in_)s
    %(feature_names_in_)s
    %(label_names_)s
    %(label_texts_)s
    %(label_counts_)s
    %(total_weight_)s
    %(history_)s
    %(n_iter_)s
    %(neighbor_weight_)s
    network_ : LightDXMLNetwork
        The trained network.
    vectorizer_ : TfidfVectorizer or None
        Turns texts into features. None if X was a feature matrix.
    beta_ : float
        The `beta` that predictions use.
    %(calibration_)s

    Notes
    -----
    A label with neither training documents nor a text of its own has no vector, and is
    never predicted.

    References
    ----------
    .. [1] Mishra, Dasgupta, Jawanpuria, Mishra, Kumar. Light-weight Deep Extreme
       Multilabel Classification, IJCNN 2023. Label encoder: Eq. 2, 4, 5; shortlist:
       Eq. 6; classifier: Eq. 3, 7, 8; the cycle: Algorithm 1.

    Examples
    --------
    >>> from scipy.sparse import csr_array
    >>> from skxmc import LightDXMLClassifier
    >>> X = csr_array([[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 0]])
    >>> Y = csr_array([[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 0]])
    >>> model = LightDXMLClassifier(
    ...     max_epochs=20, label_dim=8, validation_fraction=0, random_state=0
    ... )
    >>> ids, scores = model.fit(X, Y).predict_topk(X, k=1)
    >>> ids[:3].tolist()
    [[0], [1], [2]]
    """

    def __init__(
        self,
        *,
        label_texts=None,
        label_text_negatives=0.1,
        token_vectors="lsa",
        ngram_range=(1, 1),
        min_df=None,
        max_features=200_000,
        label_dim=None,
        label_init="documents",
        label_hidden_dim=None,
        label_activation="relu",
        label_epochs=0,
        label_batch_size=256,
        label_learning_rate=1e-3,
        refresh_every=5,
        n_shortlist=50,
        predict_shortlist=20,
        n_frequent=1024,
        n_random_negatives=0,
        search="auto",
        beta="auto",
        shortlist_temperature=1.0,
        dropout=0.3,
        label_weight=None,
        max_epochs=10,
        batch_size=64,
        accumulate=1,
        learning_rate="auto",
        head_learning_rate=2e-2,
        weight_decay=0.0,
        warmup=0.0,
        schedule="linear",
        clip_norm=None,
        swa_start=None,
        swa_every=10,
        validation_fraction=0.05,
        early_stopping=False,
        n_iter_no_change=2,
        tol=0.0,
        neighbor_weight=0,
        n_voters=10,
        label_texts_vote=True,
        label_names=None,
        top_k=50,
        device="auto",
        precision="auto",
        checkpoint_dir=None,
        resume=True,
        warm_start=False,
        random_state=None,
        verbose=0,
    ):
        self.label_texts = label_texts
        self.label_text_negatives = label_text_negatives
        self.token_vectors = token_vectors
        self.ngram_range = ngram_range
        self.min_df = min_df
        self.max_features = max_features
        self.label_dim = label_dim
        self.label_init = label_init
        self.label_hidden_dim = label_hidden_dim
        self.label_activation = label_activation
        self.label_epochs = label_epochs
        self.label_batch_size = label_batch_size
        self.label_learning_rate = label_learning_rate
        self.refresh_every = refresh_every
        self.n_shortlist = n_shortlist
        self.predict_shortlist = predict_shortlist
        self.n_frequent = n_frequent
        self.n_random_negatives = n_random_negatives
        self.search = search
        self.beta = beta
        self.shortlist_temperature = shortlist_temperature
        self.dropout = dropout
        self.label_weight = label_weight
        self.max_epochs = max_epochs
        self.batch_size = batch_size
        self.accumulate = accumulate
        self.learning_rate = learning_rate
        self.head_learning_rate = head_learning_rate
        self.weight_decay = weight_decay
        self.warmup = warmup
        self.schedule = schedule
        self.clip_norm = clip_norm
        self.swa_start = swa_start
        self.swa_every = swa_every
        self.validation_fraction = validation_fraction
        self.early_stopping = early_stopping
        self.n_iter_no_change = n_iter_no_change
        self.tol = tol
        self.neighbor_weight = neighbor_weight
        self.n_voters = n_voters
        self.label_texts_vote = label_texts_vote
        self.label_names = label_names
        self.top_k = top_k
        self.device = device
        self.precision = precision
        self.checkpoint_dir = checkpoint_dir
        self.resume = resume
        self.warm_start = warm_start
        self.random_state = random_state
        self.verbose = verbose

    _memory_advice = (
        "Lower batch_size or n_shortlist (the step), or label_dim or max_features (the "
        "weights)."
    )

    _network_class = LightDXMLNetwork
    _efforts = LIGHTDXML
    _no_stream = "it finds the negatives of all documents anew every few epochs."
    _fixed_parameters = (
        *("ngram_range", "label_dim", "label_hidden_dim", "label_activation"),
    )

    def expected_state(self):
        """Return the checks of what `fit` sets (see `skxmc.nn.state`)."""
        return super().expected_state() | {
            "vectorizer_": check_words if self._texts else nothing,
            "beta_": number(0, 1),
        }

    def _count_features(self):
        if not self._texts:
            return self.n_features_in_
        return len(self.vectorizer_.vocabulary_)

    def _check_parameters(self):
        super()._check_parameters()
        whole, real = numbers.Integral, numbers.Real
        for name in ("n_shortlist", "predict_shortlist", "label_batch_size"):
            check_number(name, getattr(self, name), whole, 1)
        for name in ("min_df", "label_hidden_dim", "refresh_every", "max_features"):
            if getattr(self, name) is not None:
                check_number(name, getattr(self, name), whole, 1)
        check_ngram_range("ngram_range", self.ngram_range)
        if self.label_dim is not None:
            check_number("label_dim", self.label_dim, whole, 2)
        for name in ("n_frequent", "n_random_negatives", "label_epochs"):
            check_number(name, getattr(self, name), whole, 0)
        check_number("learning_rate", self.learning_rate, real, 0, word="auto")
        check_number("label_learning_rate", self.label_learning_rate, real, 0)
        check_number("label_text_negatives", self.label_text_negatives, real, 0)
        check_number("beta", self.beta, real, 0, 1, word="auto")
        temperature = self.shortlist_temperature
        check_number("shortlist_temperature", temperature, real, 0, open_low=True)
        check_choice("label_init", self.label_init, ("documents", "random"))
        check_choice("label_activation", self.label_activation, ("relu", "none"))
        check_choice("search", self.search, ("auto", "exact", "hnsw"))
        if self.search == "hnsw":
            NearestVectors(torch.ones(1, 1), exact=False)  # fails without hnswlib

    def _check_fit(self, X, y):
        X, Y = super()._check_fit(X, y)
        check_needs_texts(self, ("label_texts", "token_vectors"))
        if self.label_texts is not None:
            check_label_texts(self.label_texts, self.n_labels_)
        return X, Y

    def _build(self, X, Y, rows, rng):
        encoder, docs = self._make_encoder(X)
        dim = encoder.hidden_size
        hidden_dim = self.label_hidden_dim or 2 * dim
        if hidden_dim < dim:
            raise ValueError(
                f"label_hidden_dim={hidden_dim} is less than the width of label "
                f"vectors, {dim}, so that the label encoder cannot start as the "
                "identity. Raise it, or lower label_dim."
            )
        n_labels = self.n_labels_
        # Labels without documents are neither classified nor shortlisted.
        counts, is_known = sum_weights(Y, self._weights_of_all(X)), None
        if self._start is None:
            frequent, shortlisted = split_labels(counts, self.n_frequent)
        else:
            frequent, shortlisted, is_known = continue_split(
                self._start, counts, self.n_frequent
            )
        weights = random_vectors(n_labels, dim + 1, dim) * 0.1
        weights[:, -1] = 0  # the last column is the bias
        ranker = LabelScores(weights, row_wise=True)
        device, precision = self._choose_device_and_precision()
        network = LightDXMLNetwork(
            encoder,
            LabelEncoder(dim, hidden_dim, activation=self.label_activation),
            ranker,
            torch.from_numpy(frequent),
            torch.from_numpy(shortlisted),
            n_shortlist=self.n_shortlist,
            predict_shortlist=self.predict_shortlist,
            n_random_negatives=self.n_random_negatives,
            beta=DEFAULT_BETA if self.beta == "auto" else self.beta,
            shortlist_temperature=self.shortlist_temperature,
            exact=choose_exact_search(self.search, device, len(shortlisted)),
            seed=int(rng.integers(2**31)),
            single_label=self._y_kind == "single",
        )
        examples = ShortlistedExamples(
            docs,
            Y,
            rows,
            network,
            every=self.refresh_every,
            label_init=self.label_init,
            is_known=is_known,
            n_user_docs=self.n_docs_,
            repeats_text=self._find_repeated_texts(X),
            text_negatives=self.label_text_negatives,
            rng=rng,
            batch_size=self.batch_size,
            label_options=dict(
                max_epochs=self.label_epochs,
                batch_size=self.label_batch_size,
                learning_rate=self.label_learning_rate,
                head_learning_rate=self.label_learning_rate,
                weight_decay=0.0,
                warmup=0.0,
                schedule="constant",
            ),
            options=dict(device=device, precision=precision, verbose=self.verbose),
        )
        return network, examples

    def _inherit_weights(self, examples, Y):
        self._record_parameters()
        if self._start is not None:
            inherit_classifier(self.network_, self._start)

    def _finish_training(self, examples, Y, held_out):
        network = self.network_
        network.index = None  # that index was made for searches in batches
        self.beta_ = network.beta
        if examples.ends_with_a_turn(len(self.history_), self.max_epochs):
            examples.renew_label_vectors()
        if len(network.indexed):
            network.search_index()
        held_out = examples.without_repeated_texts(held_out)
        if self.beta == "auto" and len(held_out):
            classified = self._map_docs(
                lambda vectors: network.classify(*vectors),
                examples.docs,
                held_out,
                verbose=self.verbose,
            )
            rest = self.shortlist_temperature, self._weights_of(held_out)
            self.beta_ = network.beta = select_beta(Y, held_out, *classified, *rest)

    def _add_neighbors(self, examples, Y, held_out):
        super()._add_neighbors(examples, Y, examples.without_repeated_texts(held_out))
