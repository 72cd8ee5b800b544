"""TReaderXML: the estimator; its network is in nn/networks/treaderxml.py."""

import numbers

import numpy as np

from ._clustering_classifier import RecallingXMCClassifier
from ._efforts import TREADERXML
from ._parameters import fill_docstring
from ._taught_documents import TaughtDocumentsMixin, start_at_frequencies
from ._token_vectors import check_needs_texts, check_words, is_lsa
from ._validation import check_choice, check_number
from .nn.examples import Examples
from .nn.networks.treaderxml import READINGS, SameVectors, TReaderXMLNetwork
from .nn.state import array, nothing, part
from .nn.teacher import Teacher

__all__ = ["TReaderXMLClassifier"]


@fill_docstring
class TReaderXMLClassifier(TaughtDocumentsMixin, RecallingXMCClassifier):
    """TReaderXML: read a text together with the labels of similar texts.

    The teacher knowledge of a document is the set of labels of the training documents
    nearest to it, together with the parents of these labels [1]_. The words of their
    descriptions, averaged position by position, form a second sequence beside the text.
    Self-attention over word vectors reads each of the two sequences, another layer
    reads both together, and a bottleneck scores the labels. There is no pretrained
    transformer.

    The paper does not say how its network starts. Here, attention starts so that it
    passes on its input, and the input of the bottleneck is standardized. One thing goes
    beyond the paper: label vectors start from the untrained network's vectors of the
    labels' documents (``label_init``).

    Parameters
    ----------
    Encoder: how documents become vectors

    %(token_vectors)s
        The paper uses GloVe and word2vec.
    train_vectors : bool, default=True
        Whether to train the word vectors. If False, they stay at their initial values.
    word_dim : int or None, default=None
        Width of the word vectors, a multiple of `n_heads`. None means 300, or the width
        of the vectors given as `token_vectors`. The paper uses 300 or 400.
    min_df : int or None, default=None
        Minimum number of texts that contain a word, where the descriptions of labels
        count as texts. None means 2, or 1 if 2 would leave more than one text in ten
        without any word, as happens with few documents.
    max_features : int or None, default=200_000
        Maximum number of words: the most frequent are kept. None keeps all of them.
    max_length : int, default=300
        Number of words kept per document. Of a row of a feature matrix, the largest
        values are kept. The paper uses 250 to 500.
    reading : str, default="masked-full"
        Attention layers that read each sequence: "masked-full", "full-masked",
        "masked", "full" or "none" (Table 3 of the paper).
    residual : bool, default=True
        Whether the input of the first attention layer is added to its output
        (Eq. 14, 15).
    mask : {"causal", "upper"} or None, default="causal"
        Words that a masked layer sees: those up to the word itself ("causal"), as the
        text of the paper says, or those from the word itself on ("upper"), as its upper
        triangular matrices would have it. None hides nothing.
    n_heads : int, default=4
        Number of attention heads per layer.
    positional : {"none", "sinusoidal"}, default="none"
        Position encoding added to the word vectors. The paper has none.
    pooling : {"mean", "max", "first"}, default="mean"
        How the joined sequence becomes one vector, which the paper does not say: the
        mean or the maximum over positions, or the first position. "first" is not
        possible with ``mask="causal"``.
    pool_teacher : bool or "auto", default="auto"
        Whether the positions of the teacher's sequence are pooled together with those
        of the text. If False, the teacher changes a document's vector only through
        what the words of the text attend to; the paper leaves this open. "auto" means
        True with ``mask="upper"``, where no word of the text sees the teacher, and
        False otherwise. A text without known words has only the teacher's positions.
    layer_norm : bool, default=False
        Whether layer normalization follows each attention layer. The paper has none.
    dropout : float, default=0.1
        Dropout rate on the word vectors, on the output of the attention layers, and
        before the label scores. The paper does not mention dropout.
    use_teacher : bool, default=True
        Whether to read the teacher knowledge. If False, the text is read alone.
    n_neighbors : int, default=10
        Number of nearest training documents that give a document its teacher knowledge.
    neighbor_weights : {"idf", "none"}, default="idf"
        Weights of the words in the document vectors that find neighbors. These are
        means of the initial word vectors. "idf" scales word vectors to length one and
        weights them by inverse document frequency; "none" is the plain mean of Eq. 1.
    strict_algorithm1 : bool, default=False
        Whether to drop labels without a parent from the teacher knowledge, as
        Algorithm 1 does.
    search : {"auto", "exact", "hnsw"}, default="auto"
        How neighbors are found: by the product with all documents ("exact"), or in a
        graph ("hnsw", needs hnswlib). "auto" is exact for up to 200,000 documents, and
        uses the graph for more.

    Labels: their texts, vectors and clusters

    %(label_texts)s
        They are the labels' descriptions. A label with a blank text, or every label if
        this is None, is described by the top terms of its documents. If given, X must
        be texts.
    label_length : int, default=4
        Number of words kept per description. The paper uses 4 or 16.
    label_parents : list, sparse matrix, "clusters" or None, default="clusters"
        Parents of each label:

        - a list with an entry for each label: None, one parent, or a list of parents. A
          parent is a column of `y`, the number n_labels + i for entry i of
          `parent_texts`, or a name. A name means the label if it occurs exactly once in
          `label_texts`, and otherwise a parent that is not a label;
        - a sparse matrix of shape (n_labels, n_labels), or with `parent_texts` of shape
          (n_labels, n_parents) or (n_labels, n_labels + n_parents);
        - "clusters": clusters of up to 16 labels take the place of parents, described
          by their top terms;
        - None: labels have no parents.
    parent_texts : sequence of str or None, default=None
        Names of parents that are not labels. A name without any known word is replaced
        by the top terms of the documents below it.
    label_init : {"documents", "random"}, default="documents"
        Initial vectors that score labels. "documents" starts them at the mean of the
        untrained network's vectors of the labels' documents; documents are then vectors
        of length 20. "random" is the paper's start, and biases then start at the
        log-odds of the labels' frequencies.
    label_dim : int or None, default=None
        Width of the bottleneck. None means `word_dim`.
    output_activation : {"none", "softmax"}, default="none"
        Activation of the scores before the logistic loss. "softmax" follows Eq. 18 and
        19 to the letter, but leaves next to no gradient. It needs all labels to be
        ranked.
    %(head)s
        "all" needs ``output_activation="none"``.
    %(label_precision)s
    %(max_leaf_size)s
    cluster_features : "tfidf" or matrix, default="tfidf"
        Features by which labels are clustered: the TF-IDF rows of their documents, or
        the rows of a given matrix of shape (n_labels, n_features). If X is a feature
        matrix, its own rows take the place of the TF-IDF rows. Used only if labels are
        clustered.
    %(n_shortlist)s

    Training: objective, optimizer and held-out documents

    loss_reduction : {"mean", "sum"}, default="mean"
        Reduction of the binary cross-entropy: the mean over all outputs of a batch, or
        the sum over the outputs of a document, averaged over documents.
    %(label_weight)s
    %(max_epochs)s
    %(batch_size)s
    %(accumulate)s
    learning_rate : float, default=1e-3
        Peak learning rate of the word vectors, attention and bottleneck. The paper uses
        1e-4 for all weights.
    head_learning_rate : float, default=1e-3
        Peak learning rate of the vectors that score labels.
    %(head_optimizer)s
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

    %(predict_shortlist)s
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
    %(label_groups_)s
    %(history_)s
    %(n_iter_)s
    %(neighbor_weight_)s
    network_ : TReaderXMLNetwork
        The trained network.
    teacher_ : Teacher or None
        Training documents, their labels and the parents of these, from which the
        teacher knowledge of a document is taken. None with ``use_teacher=False``.
    vectorizer_ : TfidfVectorizer or None
        Words of texts and their inverse document frequencies. None if X was a feature
        matrix.
    %(calibration_)s

    References
    ----------
    .. [1] Wang, Song, Huo, Xu, Yang, Chen, Zhao. Exploiting Dynamic and Fine-grained
       Semantic Scope for Extreme Multi-label Text Classification, NLPCC 2022.
       Neighbors: Eq. 1, 2; teacher: Algorithm 1; reading: Eq. 3 to 15; interaction:
       Eq. 16, 17; prediction and loss: Eq. 18, 19.

    Examples
    --------
    >>> from skxmc import TReaderXMLClassifier
    >>> from skxmc.datasets import make_xmc
    >>> data = make_xmc(n_docs=200, n_labels=20, random_state=0)
    >>> model = TReaderXMLClassifier(word_dim=32, max_epochs=3, random_state=0)
    >>> ids, scores = model.fit(data.texts, data.Y).predict_topk(data.texts, k=5)
    >>> ids.shape
    (200, 5)
    """

    _memory_advice = (
        "Lower batch_size or max_length (the step), word_dim or max_features (the "
        'weights), or do not hold the scores of all labels: head="all". Of its label '
        'vectors, label_precision="bf16" takes half as much.'
    )

    def __init__(
        self,
        *,
        label_texts=None,
        label_parents="clusters",
        parent_texts=None,
        token_vectors="lsa",
        train_vectors=True,
        word_dim=None,
        min_df=None,
        max_features=200_000,
        max_length=300,
        label_length=4,
        use_teacher=True,
        n_neighbors=10,
        neighbor_weights="idf",
        strict_algorithm1=False,
        search="auto",
        reading="masked-full",
        residual=True,
        mask="causal",
        n_heads=4,
        positional="none",
        pooling="mean",
        pool_teacher="auto",
        layer_norm=False,
        output_activation="none",
        label_init="documents",
        label_dim=None,
        dropout=0.1,
        head="auto",
        label_precision="fp32",
        max_leaf_size="auto",
        n_shortlist=75,
        predict_shortlist=75,
        cluster_features="tfidf",
        loss_reduction="mean",
        label_weight=None,
        max_epochs=10,
        batch_size=64,
        accumulate=1,
        learning_rate=1e-3,
        head_learning_rate=1e-3,
        head_optimizer="rowwise",
        weight_decay=0.01,
        warmup=0.1,
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
        self.label_parents = label_parents
        self.parent_texts = parent_texts
        self.token_vectors = token_vectors
        self.train_vectors = train_vectors
        self.word_dim = word_dim
        self.min_df = min_df
        self.max_features = max_features
        self.max_length = max_length
        self.label_length = label_length
        self.use_teacher = use_teacher
        self.n_neighbors = n_neighbors
        self.neighbor_weights = neighbor_weights
        self.strict_algorithm1 = strict_algorithm1
        self.search = search
        self.reading = reading
        self.residual = residual
        self.mask = mask
        self.n_heads = n_heads
        self.positional = positional
        self.pooling = pooling
        self.pool_teacher = pool_teacher
        self.layer_norm = layer_norm
        self.output_activation = output_activation
        self.label_init = label_init
        self.label_dim = label_dim
        self.dropout = dropout
        self.head = head
        self.label_precision = label_precision
        self.max_leaf_size = max_leaf_size
        self.n_shortlist = n_shortlist
        self.predict_shortlist = predict_shortlist
        self.cluster_features = cluster_features
        self.loss_reduction = loss_reduction
        self.label_weight = label_weight
        self.max_epochs = max_epochs
        self.batch_size = batch_size
        self.accumulate = accumulate
        self.learning_rate = learning_rate
        self.head_learning_rate = head_learning_rate
        self.head_optimizer = head_optimizer
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

    _network_class = TReaderXMLNetwork
    _efforts = TREADERXML
    _no_stream = "its teacher teaches a document by all the others."
    _fixed_parameters = (
        *("word_dim", "train_vectors", "max_length", "label_length", "use_teacher"),
        *("neighbor_weights", "reading", "residual", "mask", "n_heads", "positional"),
        *("pooling", "pool_teacher", "layer_norm", "output_activation", "label_init"),
        *("label_dim", "label_precision", "head", "max_leaf_size"),
    )
    _noted_parameters = ("label_names", "label_texts", "label_parents")
    attribute_names = {"neighbor_vectors": "_neighbor_vectors"}

    def expected_state(self):
        """Return the checks of what `fit` sets (see `skxmc.nn.state`)."""
        n_words = self._count_features()
        expected = super().expected_state() | {
            "vectorizer_": check_words if self._texts else nothing,
            "neighbor_vectors": array(n_words, None, kinds="f"),
            "teacher_": nothing,
        }
        if self.network_.encoder.label_length:
            expected["teacher_"] = part(
                Teacher,
                n_words=n_words,
                label_length=self.network_.encoder.label_length,
                **{"index.dim": self._neighbor_vectors.shape[1]},
            )
        return expected

    def _count_features(self):
        if not self._texts:
            return self.n_features_in_
        return len(self.vectorizer_.vocabulary_)

    def _check_parameters(self):
        super()._check_parameters()
        whole = numbers.Integral
        for name in ("label_length", "n_neighbors", "n_heads"):
            check_number(name, getattr(self, name), whole, 1)
        for name in ("word_dim", "min_df", "max_features"):
            if getattr(self, name) is not None:
                check_number(name, getattr(self, name), whole, 1)
        choices = {
            "neighbor_weights": ("idf", "none"),
            "search": ("auto", "exact", "hnsw"),
            "reading": tuple(READINGS),
            "positional": ("none", "sinusoidal"),
            "pooling": ("mean", "max", "first"),
            "output_activation": ("none", "softmax"),
            "label_init": ("documents", "random"),
        }
        for name, values in choices.items():
            check_choice(name, getattr(self, name), values)
        if self.mask is not None:
            check_choice("mask", self.mask, ("causal", "upper"))
        if self.pooling == "first" and self.mask == "causal":
            raise ValueError(
                'pooling="first" keeps the first position, and with mask="causal" that '
                'position sees no other word of the text: use pooling="mean" or "max", '
                'or mask="upper" or None.'
            )
        if not isinstance(self.pool_teacher, (bool, np.bool_)):
            check_choice("pool_teacher", self.pool_teacher, ("auto", True, False))
        if not self.pool_teacher and self.mask == "upper" and self.use_teacher:
            raise ValueError(
                'pool_teacher=False pools the text alone, and with mask="upper" no '
                "word of the text sees the teacher: leave pool_teacher out, or set "
                "use_teacher=False."
            )
        if isinstance(self.cluster_features, str):
            check_choice("cluster_features", self.cluster_features, ("tfidf",))

    def _why_not_all(self):
        if self.output_activation == "softmax":
            return 'Leave out output_activation="softmax", which needs all at once.'
        return None

    def _check_fit(self, X, y):
        X, Y = super()._check_fit(X, y)
        if self.output_activation == "softmax" and not self._ranks_all_labels():
            raise ValueError(
                'output_activation="softmax" needs the scores of all labels, and here '
                "labels are clustered: set max_leaf_size=1, or leave it out."
            )
        if self._has_named_parents():
            self._make_parents()  # refuses what is wrong before anything is computed
        elif self.parent_texts is not None:
            raise ValueError(
                "parent_texts is given without label_parents: give the parents of each "
                "label, or leave parent_texts out."
            )
        if self.strict_algorithm1 and self.use_teacher and self.label_parents is None:
            raise ValueError(
                "strict_algorithm1=True drops labels without a parent, and with "
                "label_parents=None that is all of them: give parents, or leave it out."
            )
        check_needs_texts(self, ("label_texts", "parent_texts", "token_vectors"))
        # The width of given vectors is checked once they have been read.
        if self.token_vectors is None or is_lsa(self.token_vectors):
            self._check_n_heads(self.word_dim or 300)
        return X, Y

    def _build(self, X, Y, rows, rng):
        parents, parent_texts = self._make_parents()
        encoder, docs = self._make_encoder(X, parent_texts)
        self.teacher_ = None
        if self.use_teacher:
            docs = self._make_teacher(docs, X, Y, parents, parent_texts, rng)
        self._standardize_encoder(encoder, docs, rng)
        label_vectors = self._prepare_labels(encoder, docs, X, Y, rng)
        doc_vectors = None
        if label_vectors is None:  # the bottleneck's vectors score labels, as in Eq. 18
            doc_vectors = SameVectors(encoder.hidden_size)
        heads = self._make_heads(encoder, label_vectors, doc_vectors)
        if label_vectors is None:
            weights = self._weights_of_all(Y)
            start_at_frequencies(heads["recall"], Y, self.label_groups_, weights)
        network = TReaderXMLNetwork(
            encoder, output_activation=self.output_activation, **heads
        )
        return network, Examples(docs, Y, rows)
