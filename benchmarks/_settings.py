"""Settings of the papers: for all data sets, for each data set, and for single rows."""

from pathlib import Path

from skxmc import (
    GRankClassifier,
    GUDNClassifier,
    LightDXMLClassifier,
    LightXMLClassifier,
    TReaderXMLClassifier,
)

CLASSES = {
    "lightxml": LightXMLClassifier,
    "grank": GRankClassifier,
    "lightdxml": LightDXMLClassifier,
    "gudn": GUDNClassifier,
    "treaderxml": TReaderXMLClassifier,
}
PAPERS = {
    "lightxml": "LightXML",
    "grank": "X-GRank",
    "lightdxml": "LightDXML",
    "gudn": "GUDN",
    "treaderxml": "TReaderXML",
}
# Systems without a pretrained encoder, and systems whose papers have ensembles.
WITHOUT_ENCODER = ("lightdxml", "treaderxml")
WITH_ENSEMBLES = ("lightxml", "grank")
# LightXML's released ensemble adds probabilities up as they are. X-GRank's paper does
# not say how models are joined, and the scores of different models are not comparable
# before they are calibrated.
SCALES = {"lightxml": "raw", "grank": "probability"}
ENCODERS = {
    "bert": "bert-base-uncased",
    "roberta": "roberta-base",
    "xlnet": "xlnet-base-cased",
}

# Nothing frozen, and nothing beside the encoder.
_WHOLE_ENCODER = dict(trained_layers="all", bag_of_words=False, neighbor_weight=0)

# A paper's settings for all of its data sets. Beyond "mixed precision" (LightXML), no
# paper describes the precision, which stays "auto".
COMMON = {
    "lightxml": dict(
        **_WHOLE_ENCODER,
        label_init="random",
        n_layers=5,
        dropout=0.5,
        encoder_dropout=None,  # not mentioned; as in pretraining
        learning_rate=1e-4,
        head_learning_rate=1e-4,
        warmup=0.0,
        schedule="constant",
        # The text applies this to biases and norms, the released code to all others.
        weight_decay=0.01,
        negatives="dynamic",
        # The paper's sparse features come with its data; here they are computed from
        # the texts.
        cluster_features="tfidf",
        # From the released code. Eq. 4 has a sigmoid instead; Eq. 1 and 5 are sums.
        bottleneck_activation="none",
        loss_reduction="mean",
    ),
    "grank": dict(
        **_WHOLE_ENCODER,
        n_negatives=None,
        label_learning_rate=None,
        label_init="random",
        n_layers=5,
        learning_rate=1e-4,
        head_learning_rate=1e-4,
        warmup=0.1,
        schedule="linear",  # the schedule after the warm-up is not mentioned
        lambda_max=0.5,  # Eq. 9; in the text, ranking dominates at the end
        lambda_schedule="epoch",
        combine="ranker",  # how to combine the scores of both heads is not mentioned
        cluster_features="tfidf",
        # Not mentioned. As in LightXML, but without its averaging of weights, which
        # goes with a constant learning rate.
        dropout=0.5,
        encoder_dropout=None,
        weight_decay=0.01,
        swa_start=None,
    ),
    "lightdxml": dict(
        neighbor_weight=0,
        label_text_negatives=1.0,
        label_dim=300,
        label_init="random",
        label_activation="relu",  # Eq. 4
        n_frequent=0,
        n_random_negatives=0,
        # In the released code, word vectors start at random on EURLex-4K and
        # AmazonCat-13K, and from fastText on the others. fastText vectors do not come
        # with the package; for texts, --token-vectors FILE loads them.
        token_vectors=None,
        # For texts: single words, as many as the paper's V (max_features).
        ngram_range=(1, 1),
        # From the released code.
        batch_size=255,
        label_batch_size=256,
        dropout=0.5,
        weight_decay=0.0,
        warmup=0.0,
        # The released code halves rates at epoch 14 and again later, which is not
        # offered here. "constant" is the same up to epoch 14; "linear" would fall from
        # the start.
        schedule="constant",
        swa_start=None,
    ),
    "gudn": dict(
        **_WHOLE_ENCODER,
        variant="paper",
        label_init="random",
        n_layers=8,
        label_layers=10,
        # Eq. 6 has a softmax, whose outputs sum to one: next to no gradient is left.
        # --classifier-activation softmax puts it back.
        classifier_activation="relu",
        feature_reduction="sum",  # Eq. 3
        loss_reduction="sum",  # Eq. 4, 7
        # Eq. 4 and 7 are sums over the documents of a batch, Eq. 3 is their mean. Here
        # all three losses are means, so that this weight keeps the paper's balance.
        feature_weight=1 / 8,
        # The paper fills names up to 512 tokens, also where texts have 4,096 (Table 8).
        label_length=512,
        label_reinforcement="shuffle",  # the better of the paper's two
        max_length=512,
        batch_size=8,
        # Not mentioned: as in pretraining, and as in LightXML, which the paper follows.
        encoder_dropout=None,
        dropout=0.5,
        cluster_features="tfidf",
        # From the released code.
        learning_rate=5e-5,
        head_learning_rate=5e-5,
        weight_decay=0.01,
        warmup=0.0,
        schedule="linear",
        swa_start=None,
    ),
    "treaderxml": dict(
        neighbor_weight=0,
        use_teacher=True,
        label_init="random",
        reading="masked-full",
        residual=True,
        mask="causal",
        n_heads=4,
        learning_rate=1e-4,
        head_learning_rate=1e-4,
        neighbor_weights="none",  # Eq. 1
        # The paper uses AttentionXML's GloVe, and word2vec on RCV1. They do not come
        # with the package; --token-vectors FILE loads them.
        token_vectors="lsa",
        # Followed to the letter, Eq. 18 and 19 have almost no gradient, and Algorithm 1
        # skips labels without a parent.
        output_activation="none",
        strict_algorithm1=False,
        loss_reduction="sum",  # Eq. 19
        # Not mentioned.
        n_neighbors=10,
        dropout=0.0,
        layer_norm=False,
        positional="none",
        pooling="mean",
        max_leaf_size=1,
        weight_decay=0.0,  # Adam
        warmup=0.0,
        # In the paper, rates fall "after the model converges".
        schedule="linear",
        swa_start=None,
    ),
}

# Share of the training documents that are held out to choose the best epoch. The
# released code of LightXML chooses it on 4,000 training documents on the two large data
# sets, but on the test split on the others, which flatters its results. That of
# LightDXML keeps the last epoch, and computes the results of eight values of beta on
# the test split. Here nothing is chosen on the test split. X-GRank's paper does not
# mention it.
_HELD_OUT = {
    "Eurlex-4K": 0.05,
    "AmazonCat-13K": 4000 / 1_186_239,
    "Wiki10-31K": 0.05,
    "Wiki-500K": 4000 / 1_779_881,
    "Amazon-670K": 4000 / 490_449,
    "EURLex-4K": 0.05,
    "WikiSeeAlsoTitles-350K": 4000 / 629_418,
    "AmazonTitles-670K": 4000 / 485_176,
    "EURLex": 0.05,
    "RCV1": 0.05,
}

# From Table 1 of LightXML and Table II of X-GRank: number of epochs E, batch size B,
# width of label vectors b or d, tokens L_t. Up to 31,000 labels, each label is a
# cluster (LightXML says so in the text, X-GRank by C = 1). On the large data sets, C,
# the labels per cluster, is 60 and 80 in both papers. The released code of LightXML
# halves clusters until none has more than 100 labels. This gives 8,192 clusters with a
# mean of 61 and 82 labels, and we read C as this mean.
_SMALL = dict(max_length=512, max_leaf_size=1)
# In Table II of X-GRank, there are as many clusters as labels here, so that both heads
# score all labels. The text has a single cluster, from which nothing can be learned.
_DUAL = dict(_SMALL, batch_size=32, label_dim=512, small_label_mode="dual")


def _cycle(beta, k, rate, e_model, e_label, e_hat):
    """A row of LightDXML's Table V, whose k and learning rate are used twice each."""
    return dict(
        beta=beta,
        n_shortlist=k,
        predict_shortlist=k,
        learning_rate=rate,
        head_learning_rate=rate,
        max_epochs=e_model,
        label_epochs=e_label,
        refresh_every=e_hat,
    )


SETTINGS = {
    # The paper averages weights. The epoch from which it does so (swa_start is a share
    # of the training), the steps in between, and n_shortlist come from the released
    # code.
    "lightxml": {
        "Eurlex-4K": dict(
            _SMALL, max_epochs=20, batch_size=16, swa_start=10 / 20, swa_every=200
        ),
        "AmazonCat-13K": dict(
            _SMALL, max_epochs=5, batch_size=16, swa_start=2 / 5, swa_every=10_000
        ),
        "Wiki10-31K": dict(
            _SMALL, max_epochs=30, batch_size=16, swa_start=10 / 30, swa_every=300
        ),
        "Wiki-500K": dict(
            max_epochs=10,
            batch_size=32,
            max_length=128,
            label_dim=500,
            max_leaf_size=100,
            n_shortlist=32,
            predict_shortlist=32,
            swa_start=4 / 10,
            swa_every=3000,
        ),
        "Amazon-670K": dict(
            max_epochs=15,
            batch_size=16,
            max_length=128,
            label_dim=400,
            max_leaf_size=100,
            n_shortlist=75,
            predict_shortlist=75,
            swa_start=4 / 15,
            swa_every=3000,
        ),
    },
    # We read the batch size as that of all eight GPUs together. Table VI measures speed
    # at 128 tokens, also on Amazon-670K.
    "grank": {
        "Eurlex-4K": dict(_DUAL, max_epochs=50),
        "AmazonCat-13K": dict(_DUAL, max_epochs=20),
        "Wiki10-31K": dict(_DUAL, max_epochs=50),
        "Wiki-500K": dict(
            max_epochs=20,
            batch_size=128,
            max_length=128,
            label_dim=128,
            max_leaf_size=100,
            n_shortlist=32,
            predict_shortlist=32,
        ),
        "Amazon-670K": dict(
            max_epochs=50,
            batch_size=64,
            max_length=256,
            label_dim=128,
            max_leaf_size=100,
            n_shortlist=32,
            predict_shortlist=32,
        ),
    },
    # From Table V, where the fourth data set is called WT-320K. The width, batch
    # size and learning rate of the label encoder come from the released code;
    # max_features is V of Table III.
    "lightdxml": {
        "EURLex-4K": dict(
            _cycle(0.75, 500, 0.006, 16, 8, 8),
            label_hidden_dim=1000,
            label_learning_rate=3e-3,
            max_features=5000,
        ),
        "AmazonCat-13K": dict(
            _cycle(1.0, 500, 0.007, 21, 4, 4),
            label_hidden_dim=600,
            label_learning_rate=2e-4,
            max_features=203_882,
        ),
        "Wiki10-31K": dict(
            _cycle(0.6, 600, 0.009, 21, 8, 6),
            label_hidden_dim=600,
            label_batch_size=512,
            label_learning_rate=3e-3,
            max_features=101_938,
        ),
        "WikiSeeAlsoTitles-350K": dict(
            _cycle(0.1, 500, 0.008, 21, 6, 7),
            label_hidden_dim=1200,
            label_batch_size=512,
            label_learning_rate=1e-3,
            max_features=91_414,
        ),
        "AmazonTitles-670K": dict(
            _cycle(1.0, 650, 0.007, 21, 6, 9),
            label_hidden_dim=2400,
            label_learning_rate=1.5e-3,
            max_features=66_666,
        ),
    },
    # From Sec. 4.2. On Wiki-500K, clusters and widths come from the released code,
    # which does not run on this data set.
    "gudn": {
        "Eurlex-4K": dict(max_epochs=40, max_leaf_size=1),
        "AmazonCat-13K": dict(max_epochs=20, max_leaf_size=1),
        "Wiki10-31K": dict(max_epochs=40, max_leaf_size=1),
        "Wiki-500K": dict(
            max_epochs=20,
            max_leaf_size=100,
            n_shortlist=10,
            predict_shortlist=10,
            label_dim=3000,
        ),
    },
    # From Sec. 4.1, which mentions neither the width on EURLex nor batches and epochs.
    # At the paper's rate, a step moves each weight by no more than 1e-4, so that small
    # batches make up for few documents.
    "treaderxml": {
        "AmazonCat-13K": dict(
            max_length=300, label_length=4, word_dim=300, batch_size=64, max_epochs=30
        ),
        "EURLex": dict(
            max_length=500, label_length=4, word_dim=300, batch_size=8, max_epochs=20
        ),
        "RCV1": dict(
            max_length=250, label_length=16, word_dim=400, batch_size=8, max_epochs=20
        ),
    },
}

# Where released code differs from the paper, for --released-code: "all" holds for all
# models, the other names for one encoder.
#
# LightXML has five more epochs, and no dropout after the first evaluation of an epoch
# (at step 3,000 on the large data sets, at 20,000 on AmazonCat-13K). Some encoders have
# another batch size, length or learning rate. It also lower-cases texts for all
# encoders, which is not done here.
#
# LightDXML has other values of Table V, and no ReLU on label vectors.
_BY_TWO = dict(batch_size=8, accumulate=2, swa_every=200)  # i.e. 400 batches of 8
_NO_RELU = dict(label_activation="none")
_LIGHTXML_CODE = {
    "Eurlex-4K": {
        "all": dict(max_epochs=25, swa_start=10 / 25),
        "xlnet": dict(learning_rate=5e-4, head_learning_rate=5e-4, **_BY_TWO),
    },
    "AmazonCat-13K": {
        "all": dict(max_epochs=10, swa_start=2 / 10, dropout_until=0.27),
        "xlnet": dict(batch_size=32, max_length=128, dropout_until=0.54),
    },
    "Wiki10-31K": {
        "all": dict(max_epochs=35, swa_start=10 / 35),
        "roberta": _BY_TWO,
        "xlnet": _BY_TWO,
    },
    "Wiki-500K": {"all": dict(max_epochs=15, swa_start=4 / 15, dropout_until=0.05)},
    "Amazon-670K": {"all": dict(max_epochs=20, swa_start=4 / 20, dropout_until=0.1)},
}
_LIGHTDXML_CODE = {
    "EURLex-4K": {"all": _cycle(0.75, 400, 0.006, 26, 8, 8) | _NO_RELU},
    "AmazonCat-13K": {"all": _cycle(0.75, 500, 0.007, 26, 4, 4) | _NO_RELU},
    "Wiki10-31K": {"all": _cycle(0.75, 600, 0.009, 26, 8, 6) | _NO_RELU},
    "WikiSeeAlsoTitles-350K": {"all": _cycle(0.3, 500, 0.008, 26, 6, 20) | _NO_RELU},
    "AmazonTitles-670K": {"all": _cycle(0.6, 800, 0.004, 26, 12, 9) | _NO_RELU},
}
# GUDN has one classifier for both branches, on ten layers. Losses are means, and each
# name is used once.
_GUDN_CODE = dict(
    variant="code",
    n_layers=10,
    label_layers=None,
    feature_reduction="mean",
    loss_reduction="mean",
    feature_weight=1.0,
    label_reinforcement=None,
    max_epochs=100,
)
RELEASED_CODE = {
    "lightxml": _LIGHTXML_CODE,
    "lightdxml": _LIGHTDXML_CODE,
    "gudn": {name: {"all": _GUDN_CODE} for name in SETTINGS["gudn"]},
}

# Rows of the papers' tables that change the settings above, for --row.
ROWS = {
    # Table 5 (S, whose ranking head reads the encoder of the recall head, and BS, whose
    # ranking head has an encoder of its own) and Fig. 2.
    "lightxml": {
        "static": dict(negatives="static", ranking_encoder="frozen"),
        "static-two-encoders": dict(negatives="static", ranking_encoder="own"),
        "one-layer": dict(n_layers=1),
    },
    # Table IV: X-BCE, which gets no label texts there. The paper has no figures of it
    # with label texts.
    "grank": {"bce": dict(loss="bce"), "bce-label-texts": dict(loss="bce")},
    "lightdxml": {},
    # Table 6 ("bert", and each guide alone), Table 7, Fig. 5 (the paper's row is
    # "shuffle", and "repeat" is its other one), and Table 8.
    "gudn": {
        "bert": dict(feature_weight=0, link_weight=0),
        "feature-guide": dict(link_weight=0),
        "link-guide": dict(feature_weight=0),
        "multi-hot": dict(label_branch="multi-hot"),
        "names-once": dict(label_reinforcement=None),
        "names-repeated": dict(label_reinforcement="repeat"),
    }
    | {
        f"longformer-{n}": dict(encoder="allenai/longformer-base-4096", max_length=n)
        for n in (512, 1024, 2048, 4096)
    },
    # Config. ID of Table 3; 6 is the paper's model.
    "treaderxml": {
        "config-0": dict(use_teacher=False, reading="none"),
        "config-1": dict(reading="none"),
        "config-2": dict(reading="masked"),
        "config-3": dict(reading="full"),
        "config-4": dict(reading="full-masked"),
        "config-5": dict(residual=False),
    },
}


def settings(system, dataset, encoder=None, *, row=None, released_code=False):
    """Return the parameters of the classifier, as in the paper."""
    held_out = {"validation_fraction": _HELD_OUT[dataset]}
    chosen = COMMON[system] | SETTINGS[system][dataset] | held_out
    if released_code:
        changed = RELEASED_CODE[system][dataset]
        # The released code also recognises an encoder by its name.
        name = Path(encoder or "").name
        kind = next((k for k in ("roberta", "xlnet") if k in name), "bert")
        chosen |= changed["all"] | changed.get(kind, {})
    if row is not None:
        chosen |= ROWS[system][row]
    return chosen if encoder is None else chosen | {"encoder": encoder}


def is_clustered(system, dataset):
    """Return whether labels are in clusters of several."""
    return SETTINGS[system][dataset].get("max_leaf_size", 1) > 1


def refusal(system, dataset, row):
    """Return why the classifier cannot train a row, or None if it can."""
    try:
        CLASSES[system](**settings(system, dataset, row=row))._check_parameters()
    except (TypeError, ValueError) as error:
        return f"{CLASSES[system].__name__} cannot train it yet: {error}"
    return None
