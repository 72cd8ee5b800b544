"""benchmarks/_settings.py: every value, against a second copy from the papers.

What papers leave open, and what comes from released code, stands here as well.
"""

import inspect

import pytest

from skxmc import (
    GRankClassifier,
    GUDNClassifier,
    LightDXMLClassifier,
    LightXMLClassifier,
    TReaderXMLClassifier,
)

pytest_plugins = ["papers_fixtures"]

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
WITHOUT_ENCODER = ("lightdxml", "treaderxml")
WITHOUT_CODE = ("grank", "treaderxml")
ENCODERS = ("bert-base-uncased", "roberta-base", "xlnet-base-cased")
WHOLE = {"trained_layers": "all", "bag_of_words": False, "neighbor_weight": 0}

# Of all data sets of a paper.
COMMON = {
    "lightxml": {
        **WHOLE,
        "label_init": "random",
        "n_layers": 5,
        "dropout": 0.5,
        "encoder_dropout": None,
        "learning_rate": 1e-4,
        "head_learning_rate": 1e-4,
        "warmup": 0,
        "schedule": "constant",
        "weight_decay": 0.01,
        "negatives": "dynamic",
        "cluster_features": "tfidf",
        "bottleneck_activation": "none",
        "loss_reduction": "mean",
    },
    "grank": {
        **WHOLE,
        "n_negatives": None,
        "label_learning_rate": None,
        "label_init": "random",
        "n_layers": 5,
        "learning_rate": 1e-4,
        "head_learning_rate": 1e-4,
        "warmup": 0.1,
        "schedule": "linear",
        "lambda_max": 0.5,
        "lambda_schedule": "epoch",
        "combine": "ranker",
        "cluster_features": "tfidf",
        "dropout": 0.5,
        "encoder_dropout": None,
        "weight_decay": 0.01,
        "swa_start": None,
    },
    "lightdxml": {
        "neighbor_weight": 0,
        "label_text_negatives": 1,
        "label_dim": 300,
        "label_init": "random",
        "label_activation": "relu",
        "n_frequent": 0,
        "n_random_negatives": 0,
        "token_vectors": None,
        "ngram_range": (1, 1),
        "batch_size": 255,
        "dropout": 0.5,
        "weight_decay": 0,
        "warmup": 0,
        "schedule": "constant",
        "swa_start": None,
    },
    "gudn": {
        **WHOLE,
        "variant": "paper",
        "label_init": "random",
        "n_layers": 8,
        "label_layers": 10,
        "classifier_activation": "relu",
        "feature_reduction": "sum",
        "loss_reduction": "sum",
        "feature_weight": 0.125,
        "label_length": 512,
        "label_reinforcement": "shuffle",
        "max_length": 512,
        "batch_size": 8,
        "encoder_dropout": None,
        "dropout": 0.5,
        "cluster_features": "tfidf",
        "learning_rate": 5e-5,
        "head_learning_rate": 5e-5,
        "weight_decay": 0.01,
        "warmup": 0,
        "schedule": "linear",
        "swa_start": None,
    },
    "treaderxml": {
        "neighbor_weight": 0,
        "use_teacher": True,
        "label_init": "random",
        "reading": "masked-full",
        "residual": True,
        "mask": "causal",
        "n_heads": 4,
        "learning_rate": 1e-4,
        "head_learning_rate": 1e-4,
        "neighbor_weights": "none",
        "token_vectors": "lsa",
        "output_activation": "none",
        "strict_algorithm1": False,
        "loss_reduction": "sum",
        "n_neighbors": 10,
        "dropout": 0,
        "layer_norm": False,
        "positional": "none",
        "pooling": "mean",
        "max_leaf_size": 1,
        "weight_decay": 0,
        "warmup": 0,
        "schedule": "linear",
        "swa_start": None,
    },
}
# Values by data set, under the names of the parameters. "-" is a value that is not set.
OF_DATASET = {
    # Table 1, run.sh of the released code (first epoch and steps of averaging, clusters
    # that are ranked), and the size at which its clusters are not halved again.
    "lightxml": """
        max_epochs batch_size label_dim max_length max_leaf_size n_shortlist swa every
        Eurlex-4K 20 16 - 512 1 - 10/20 200
        AmazonCat-13K 5 16 - 512 1 - 2/5 10000
        Wiki10-31K 30 16 - 512 1 - 10/30 300
        Wiki-500K 10 32 500 128 100 32 4/10 3000
        Amazon-670K 15 16 400 128 100 75 4/15 3000
    """,
    # Table II. On the first three, all labels are retrieved.
    "grank": """
        max_epochs batch_size label_dim max_length max_leaf_size n_shortlist
        Eurlex-4K 50 32 512 512 1 -
        AmazonCat-13K 20 32 512 512 1 -
        Wiki10-31K 50 32 512 512 1 -
        Wiki-500K 20 128 128 128 100 32
        Amazon-670K 50 64 128 256 100 32
    """,
    # Table V; width, rate and batch size of the label encoder in the released
    # configurations; V of Table III.
    "lightdxml": """
        beta n_shortlist rate max_epochs label_epochs turn hidden label_rate pairs V
        EURLex-4K 0.75 500 0.006 16 8 8 1000 0.003 256 5000
        AmazonCat-13K 1 500 0.007 21 4 4 600 0.0002 256 203882
        Wiki10-31K 0.60 600 0.009 21 8 6 600 0.003 512 101938
        WikiSeeAlsoTitles-350K 0.1 500 0.008 21 6 7 1200 0.001 512 91414
        AmazonTitles-670K 1 650 0.007 21 6 9 2400 0.0015 256 66666
    """,
    # Sec. 4.2, and GUDN_500k.py of the released code.
    "gudn": """
        max_epochs max_leaf_size n_shortlist label_dim
        Eurlex-4K 40 1 - -
        AmazonCat-13K 20 1 - -
        Wiki10-31K 40 1 - -
        Wiki-500K 20 100 10 3000
    """,
    # Sec. 4.1; batches and epochs are ours.
    "treaderxml": """
        max_length label_length word_dim batch_size max_epochs
        AmazonCat-13K 300 4 300 64 30
        EURLex 500 4 300 8 20
        RCV1 250 16 400 8 20
    """,
}
# The released configurations of LightDXML.
CODE_OF_LIGHTDXML = """
    beta n_shortlist rate max_epochs label_epochs refresh_every
    EURLex-4K 0.75 400 0.006 26 8 8
    AmazonCat-13K 0.75 500 0.007 26 4 4
    Wiki10-31K 0.75 600 0.009 26 8 6
    WikiSeeAlsoTitles-350K 0.3 500 0.008 26 6 20
    AmazonTitles-670K 0.60 800 0.004 26 12 9
"""
# run.sh of LightXML, which trains for five more epochs than it is told. "steps" are
# batches, of which "accumulate" make a step of the optimizer. Dropout ends at the first
# evaluation in an epoch, after "eval" batches.
CODE_OF_LIGHTXML = """
    encoder batch accumulate length rate epochs first steps eval
    Eurlex-4K bert 16 1 512 1e-4 20 10 200 20000
    Eurlex-4K roberta 16 1 512 1e-4 20 10 200 20000
    Eurlex-4K xlnet 8 2 512 5e-4 20 10 400 20000
    AmazonCat-13K bert 16 1 512 1e-4 5 2 10000 20000
    AmazonCat-13K roberta 16 1 512 1e-4 5 2 10000 20000
    AmazonCat-13K xlnet 32 1 128 1e-4 5 2 10000 20000
    Wiki10-31K bert 16 1 512 1e-4 30 10 300 20000
    Wiki10-31K roberta 8 2 512 1e-4 30 10 400 20000
    Wiki10-31K xlnet 8 2 512 1e-4 30 10 400 20000
    Wiki-500K bert 32 1 128 1e-4 10 4 3000 3000
    Amazon-670K bert 16 1 128 1e-4 15 4 3000 3000
"""
# Training documents, and the share of them that is held out.
N_TRAIN = {
    "Eurlex-4K": 15449,
    "AmazonCat-13K": 1186239,
    "Wiki10-31K": 14146,
    "Wiki-500K": 1779881,
    "Amazon-670K": 490449,
}
HELD_OUT = {
    "Eurlex-4K": 0.05,
    "AmazonCat-13K": 4000 / 1186239,
    "Wiki10-31K": 0.05,
    "Wiki-500K": 4000 / 1779881,
    "Amazon-670K": 4000 / 490449,
    "EURLex-4K": 0.05,
    "WikiSeeAlsoTitles-350K": 4000 / 629418,
    "AmazonTitles-670K": 4000 / 485176,
    "EURLex": 0.05,
    "RCV1": 0.05,
}


def number(text):
    over, _, under = text.partition("/")
    if under:
        return float(over) / float(under)
    return int(text) if text.isdigit() else float(text)


def read(text):
    """Rows of a table as (data set, values by name)."""
    first, *lines = text.strip().splitlines()
    for line in lines:
        dataset, *cells = line.split()
        pairs = zip(first.split(), cells, strict=True)
        yield dataset, {name: cell for name, cell in pairs if cell != "-"}


def parameters(values):
    """Parameters from a row of OF_DATASET."""
    found = {name: number(cell) for name, cell in values.items()}
    for short, long in (
        ("swa", ["swa_start"]),
        ("every", ["swa_every"]),
        ("rate", ["learning_rate", "head_learning_rate"]),
        ("hidden", ["label_hidden_dim"]),
        ("label_rate", ["label_learning_rate"]),
        ("pairs", ["label_batch_size"]),
        ("turn", ["refresh_every"]),
        ("V", ["max_features"]),
    ):
        if short in found:
            found |= dict.fromkeys(long, found.pop(short))
    if "n_shortlist" in found:
        found["predict_shortlist"] = found["n_shortlist"]
    return found


OF = {
    system: {dataset: parameters(values) for dataset, values in read(text)}
    for system, text in OF_DATASET.items()
}
for _dataset in ("Eurlex-4K", "AmazonCat-13K", "Wiki10-31K"):
    OF["grank"][_dataset]["small_label_mode"] = "dual"
EACH = [(system, dataset) for system, rows in OF.items() for dataset in rows]


def expected(system, dataset):
    held_out = {"validation_fraction": HELD_OUT[dataset]}
    return COMMON[system] | OF[system][dataset] | held_out


@pytest.mark.parametrize("system, dataset", EACH)
def test_every_setting(recipes, system, dataset):
    assert recipes.settings(system, dataset) == expected(system, dataset)
    with_encoder = recipes.settings(system, dataset, "roberta-base")
    assert with_encoder == expected(system, dataset) | {"encoder": "roberta-base"}


def test_every_data_set(recipes):
    for system, rows in OF.items():
        assert list(recipes.SETTINGS[system]) == list(rows)
        if system not in WITHOUT_CODE:
            assert list(recipes.RELEASED_CODE[system]) == list(rows)
    assert recipes.RELEASED_CODE.keys() == CLASSES.keys() - set(WITHOUT_CODE)
    assert recipes.CLASSES == CLASSES
    assert recipes.WITHOUT_ENCODER == WITHOUT_ENCODER
    assert recipes.WITH_ENSEMBLES == ("lightxml", "grank")
    assert recipes.SCALES == {"lightxml": "raw", "grank": "probability"}
    assert recipes.PAPERS == PAPERS
    assert recipes.ENCODERS == dict(
        zip(("bert", "roberta", "xlnet"), ENCODERS, strict=True)
    )
    clustered = {(s, d) for s, d in EACH if recipes.is_clustered(s, d)}
    assert clustered == {
        (s, d) for s, d in EACH if OF[s][d].get("max_leaf_size") == 100
    }


@pytest.mark.parametrize("system, dataset", EACH)
def test_settings_are_parameters(recipes, system, dataset):
    known = inspect.signature(CLASSES[system]).parameters
    for encoder in [None] if system in WITHOUT_ENCODER else ENCODERS:
        for released in {False, system not in WITHOUT_CODE}:
            chosen = recipes.settings(system, dataset, encoder, released_code=released)
            assert chosen.keys() <= known.keys()
            CLASSES[system](**chosen)._check_parameters()


@pytest.mark.parametrize("dataset, values", list(read(CODE_OF_LIGHTDXML)))
def test_released_code_of_lightdxml(recipes, dataset, values):
    found = recipes.settings("lightdxml", dataset, released_code=True)
    changed = parameters(values) | {"label_activation": "none"}
    assert found == expected("lightdxml", dataset) | changed


@pytest.mark.parametrize("dataset, values", list(read(CODE_OF_LIGHTXML)))
def test_released_code_of_lightxml(recipes, dataset, values):
    folder = f"/models/{values.pop('encoder')}-of-mine"
    batch, accumulate, length, rate, epochs, first, steps, eval_step = map(
        number, values.values()
    )
    share = round(eval_step * batch / N_TRAIN[dataset], 2)
    changed = {
        "encoder": folder,
        "batch_size": batch,
        "max_length": length,
        "learning_rate": rate,
        "head_learning_rate": rate,
        "max_epochs": epochs + 5,
        "swa_start": first / (epochs + 5),
        "swa_every": steps / accumulate,
    }
    if accumulate > 1:
        changed["accumulate"] = accumulate
    if share < 1:
        changed["dropout_until"] = share
    found = recipes.settings("lightxml", dataset, folder, released_code=True)
    assert found == expected("lightxml", dataset) | changed


@pytest.mark.parametrize("dataset", OF["gudn"])
def test_released_code_of_gudn(recipes, dataset):
    changed = {
        "variant": "code",
        "n_layers": 10,
        "label_layers": None,
        "feature_reduction": "mean",
        "loss_reduction": "mean",
        "feature_weight": 1,
        "label_reinforcement": None,
        "max_epochs": 100,
    }
    found = recipes.settings("gudn", dataset, released_code=True)
    assert found == expected("gudn", dataset) | changed


def test_averaging_starts_after_whole_epochs(recipes):
    for dataset, values in OF["lightxml"].items():
        first = round(values["swa_start"] * values["max_epochs"])
        for released in (False, True):
            chosen = recipes.settings("lightxml", dataset, released_code=released)
            epoch = chosen["swa_start"] * chosen["max_epochs"]
            assert epoch == pytest.approx(first)


LONGFORMER = "allenai/longformer-base-4096"
# What each row of an ablation changes.
ROWS = {
    "lightxml": {
        "static": {"negatives": "static", "ranking_encoder": "frozen"},
        "static-two-encoders": {"negatives": "static", "ranking_encoder": "own"},
        "one-layer": {"n_layers": 1},
    },
    "grank": {"bce": {"loss": "bce"}, "bce-label-texts": {"loss": "bce"}},
    "lightdxml": {},
    "gudn": {
        "bert": {"feature_weight": 0, "link_weight": 0},
        "feature-guide": {"link_weight": 0},
        "link-guide": {"feature_weight": 0},
        "multi-hot": {"label_branch": "multi-hot"},
        "names-once": {"label_reinforcement": None},
        "names-repeated": {"label_reinforcement": "repeat"},
        "longformer-512": {"encoder": LONGFORMER, "max_length": 512},
        "longformer-1024": {"encoder": LONGFORMER, "max_length": 1024},
        "longformer-2048": {"encoder": LONGFORMER, "max_length": 2048},
        "longformer-4096": {"encoder": LONGFORMER, "max_length": 4096},
    },
    "treaderxml": {
        "config-0": {"use_teacher": False, "reading": "none"},
        "config-1": {"reading": "none"},
        "config-2": {"reading": "masked"},
        "config-3": {"reading": "full"},
        "config-4": {"reading": "full-masked"},
        "config-5": {"residual": False},
    },
}


@pytest.mark.parametrize("system", ROWS)
def test_every_row(recipes, system):
    assert recipes.ROWS[system].keys() == ROWS[system].keys()
    for dataset in OF[system]:
        for row, changed in ROWS[system].items():
            found = recipes.settings(system, dataset, row=row)
            assert found == expected(system, dataset) | changed


def test_an_encoder_takes_the_place_of_the_row_s(recipes):
    found = recipes.settings("gudn", "Eurlex-4K", "mine", row="longformer-1024")
    assert found["encoder"] == "mine" and found["max_length"] == 1024


def test_refusal(recipes, monkeypatch):
    assert recipes.refusal("gudn", "Eurlex-4K", "bert") is None
    monkeypatch.setitem(recipes.ROWS["gudn"], "a", {"label_branch": "pictures"})
    assert "'pictures'" in recipes.refusal("gudn", "Eurlex-4K", "a")
    monkeypatch.setitem(recipes.ROWS["gudn"], "a", {"pictures": True})
    assert "'pictures'" in recipes.refusal("gudn", "Eurlex-4K", "a")
