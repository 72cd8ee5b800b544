"""What the five papers report: their data sets, results and costs."""

METRICS = ("P@1", "P@3", "P@5", "nDCG@3", "nDCG@5", "PSP@1", "PSP@3", "PSP@5")

# ------------------------------------------------------------------ Data sets


def statistics(n_train, n_test, n_labels, labels_a_document):
    """Return what papers state about a data set."""
    return {
        "N train": n_train,
        "N test": n_test,
        "L": n_labels,
        "labels a document": labels_a_document,
    }


# From Table 2 of LightXML and Table I of X-GRank, on AttentionXML's splits. L counts
# the labels of the documents of both splits. "labels a document" is the mean over
# training documents. (It agrees with the documents per label in both papers, except for
# 0.09 on Eurlex-4K.) The XML repository has other splits under these names: its
# Wikipedia-500K has 1,813,391 and 783,743 documents.
_ATTENTIONXML = {
    "Eurlex-4K": statistics(15_449, 3_865, 3_956, 5.30),
    "AmazonCat-13K": statistics(1_186_239, 306_782, 13_330, 5.04),
    "Wiki10-31K": statistics(14_146, 6_616, 30_938, 18.64),
    "Wiki-500K": statistics(1_779_881, 769_421, 501_008, 4.75),
    "Amazon-670K": statistics(490_449, 153_025, 670_091, 5.45),
}
STATISTICS = {
    "lightxml": _ATTENTIONXML,
    # The two papers count different numbers of labels on the same documents, so at
    # least one of the systems warns for the same folder.
    "grank": _ATTENTIONXML
    | {"Wiki-500K": statistics(1_779_881, 769_421, 501_070, 4.75)},
    # From Table III, on the XML repository's splits. It does not describe the test
    # split. We read L as the number of columns, including labels without documents.
    "lightdxml": {
        "EURLex-4K": {"N train": 15_539, "L": 3_993, "V": 5_000},
        "AmazonCat-13K": {"N train": 1_186_239, "L": 13_330, "V": 203_882},
        "Wiki10-31K": {"N train": 14_146, "L": 30_938, "V": 101_938},
        "WikiSeeAlsoTitles-350K": {"N train": 629_418, "L": 352_072, "V": 91_414},
        "AmazonTitles-670K": {"N train": 485_176, "L": 670_091, "V": 66_666},
    },
    # From Table 1, on the XML repository's splits. L is the number of columns.
    "gudn": {
        "Eurlex-4K": statistics(15_539, 3_809, 3_993, 5.31),
        "AmazonCat-13K": statistics(1_186_239, 306_782, 13_330, 5.04),
        "Wiki10-31K": statistics(14_146, 6_616, 30_938, 18.64),
        "Wiki-500K": statistics(1_813_391, 783_743, 501_070, 4.89),
    },
    # From Table 1.
    "treaderxml": {
        "AmazonCat-13K": _ATTENTIONXML["AmazonCat-13K"],
        "EURLex": _ATTENTIONXML["Eurlex-4K"],
        "RCV1": statistics(23_149, 781_265, 103, 3.18),
    },
}
# Systems for which labels without documents count too, as columns.
COUNTS_COLUMNS = ("lightdxml", "gudn")

# ------------------------------------------------------------------- Results


def _row(p, ndcg=(None, None), psp=(None, None, None)):
    """Return results in % by metric; None is what a paper does not report."""
    return dict(zip(METRICS, (*p, *ndcg, *psp), strict=True))


def _rows(rows):
    """Return P@k by data set and row, from that by row and data set."""
    datasets = dict.fromkeys(dataset for table in rows.values() for dataset in table)
    return {
        dataset: {row: _row(t[dataset]) for row, t in rows.items() if dataset in t}
        for dataset in datasets
    }


def _merge(*tables):
    datasets = dict.fromkeys(dataset for table in tables for dataset in table)
    return {
        dataset: {row: r for t in tables for row, r in t.get(dataset, {}).items()}
        for dataset in datasets
    }


# Table 3 (ensembles), Table 4 (single models) and Table 5 (static negatives). "static"
# is S, with one text representation, and "static-two-encoders" is BS.
_LIGHTXML = _rows(
    {
        "ensemble": {
            "Eurlex-4K": (87.63, 75.89, 63.36),
            "AmazonCat-13K": (96.77, 84.02, 68.70),
            "Wiki10-31K": (89.45, 78.96, 69.85),
            "Wiki-500K": (77.78, 58.85, 45.57),
            "Amazon-670K": (49.10, 43.83, 39.85),
        },
        "single model": {
            "Wiki-500K": (76.19, 57.22, 44.12),
            "Amazon-670K": (47.14, 42.02, 38.23),
        },
        "static": {
            "Wiki-500K": (73.30, 54.60, 42.27),
            "Amazon-670K": (43.36, 38.55, 34.96),
        },
        "static-two-encoders": {
            "Wiki-500K": (75.30, 56.64, 43.03),
            "Amazon-670K": (46.27, 41.40, 37.69),
        },
    }
)
# Tables III and V (ensembles) and Table IV (single models for bert-base-uncased, with
# and without label texts, and with BCE, also without label texts).
_GRANK = _merge(
    {
        "Eurlex-4K": {
            "ensemble": _row((88.05, 76.67, 63.50), psp=(45.04, 53.28, 57.12))
        },
        "AmazonCat-13K": {
            "ensemble": _row((97.35, 84.08, 68.97), psp=(55.63, 69.27, 75.78))
        },
        "Wiki10-31K": {
            "ensemble": _row((89.92, 78.64, 69.67), psp=(15.27, 16.89, 18.01))
        },
        "Wiki-500K": {
            "ensemble": _row((78.26, 59.54, 45.94), psp=(33.50, 40.73, 42.81))
        },
        "Amazon-670K": {
            "ensemble": _row((49.36, 44.73, 40.37), psp=(32.21, 34.60, 39.02))
        },
    },
    _rows(
        {
            "single model": {
                "Eurlex-4K": (86.65, 74.93, 62.11),
                "Wiki10-31K": (89.63, 77.89, 68.10),
            },
            "no-label-texts": {
                "Eurlex-4K": (86.30, 73.82, 61.99),
                "Wiki10-31K": (88.63, 77.72, 68.75),
            },
            "bce": {
                "Eurlex-4K": (84.27, 71.81, 59.59),
                "Wiki10-31K": (87.71, 76.99, 67.63),
            },
        }
    ),
)
# Table II. Its PSP on Wiki10-31K is far above any in the XML repository.
_LIGHTDXML = {
    "EURLex-4K": _row((82.38, 67.94, 56.18), psp=(38.51, 44.57, 47.39)),
    "AmazonCat-13K": _row((94.76, 79.06, 64.96), psp=(59.88, 67.40, 71.43)),
    "Wiki10-31K": _row((86.31, 73.45, 64.37), psp=(23.43, 21.68, 21.18)),
    "WikiSeeAlsoTitles-350K": _row((19.92, 13.69, 11.02), psp=(10.35, 11.30, 12.55)),
    "AmazonTitles-670K": _row((39.12, 35.88, 33.96), psp=(27.23, 28.83, 30.56)),
}
# Tables 2, 3 and 4. On Wiki-500K, the P@k of its baselines are for another split.
_GUDN = {
    "Eurlex-4K": _row(
        (88.13, 77.06, 65.49), ndcg=(78.19, 72.75), psp=(43.89, 50.61, 54.98)
    ),
    "AmazonCat-13K": _row(
        (96.71, 84.19, 67.96), ndcg=(91.98, 90.06), psp=(54.69, 70.98, 77.04)
    ),
    "Wiki10-31K": _row(
        (89.75, 78.58, 69.86), ndcg=(81.38, 74.63), psp=(15.99, 16.87, 18.16)
    ),
    "Wiki-500K": _row(
        (77.89, 59.15, 46.01), ndcg=(75.16, 73.78), psp=(32.71, 41.91, 46.53)
    ),
}
# Table 6, and Table 8 with its lengths of texts for Longformer.
_GUDN_ROWS = {
    "bert": {
        "Eurlex-4K": (86.68, 75.04, 63.03),
        "AmazonCat-13K": (96.10, 82.89, 67.01),
        "Wiki10-31K": (88.76, 77.65, 68.51),
        "Wiki-500K": (77.37, 58.09, 45.46),
    },
    "feature-guide": {
        "Eurlex-4K": (87.93, 76.64, 65.02),
        "AmazonCat-13K": (96.56, 83.98, 67.66),
        "Wiki10-31K": (89.62, 77.98, 69.67),
        "Wiki-500K": (77.76, 58.98, 45.69),
    },
    "link-guide": {
        "Eurlex-4K": (87.21, 75.09, 63.93),
        "AmazonCat-13K": (96.12, 83.10, 67.28),
        "Wiki10-31K": (89.21, 77.63, 68.94),
        "Wiki-500K": (77.41, 58.16, 45.62),
    },
    "longformer-512": {
        "Eurlex-4K": (88.01, 77.08, 65.37),
        "AmazonCat-13K": (96.18, 84.15, 67.86),
        "Wiki10-31K": (89.70, 78.58, 69.87),
        "Wiki-500K": (77.87, 59.16, 45.98),
    },
    "longformer-1024": {
        "Eurlex-4K": (88.12, 76.96, 65.29),
        "AmazonCat-13K": (96.26, 84.21, 67.99),
        "Wiki10-31K": (89.96, 78.62, 69.93),
        "Wiki-500K": (77.90, 59.20, 46.07),
    },
    "longformer-2048": {
        "Eurlex-4K": (88.03, 76.90, 65.13),
        "AmazonCat-13K": (96.25, 84.07, 67.79),
        "Wiki10-31K": (90.08, 78.71, 70.03),
        "Wiki-500K": (77.94, 59.29, 46.12),
    },
    "longformer-4096": {
        "Eurlex-4K": (87.95, 76.90, 64.98),
        "AmazonCat-13K": (96.73, 84.06, 67.62),
        "Wiki10-31K": (90.21, 78.83, 70.16),
        "Wiki-500K": (78.01, 59.31, 46.18),
    },
}
# Table 7 reports what multi-hot vectors gain over BERT. Its other column, the gain of
# raw labels, is that of the feature guide on two data sets and differs from it on two.
_GAINS_OF_MULTI_HOT = {
    "Eurlex-4K": (0.03, 0.32, 0.13),
    "AmazonCat-13K": (0.18, 0.08, 0.16),
    "Wiki10-31K": (0.15, 0.18, 0.10),
    "Wiki-500K": (0.19, 0.22, 0.10),
}
_GUDN_ROWS["multi-hot"] = {
    dataset: tuple(
        round(p + gain, 2)
        for p, gain in zip(_GUDN_ROWS["bert"][dataset], gains, strict=True)
    )
    for dataset, gains in _GAINS_OF_MULTI_HOT.items()
}
# Tables 2 and 4, where P@3 on EURLex is missing. P@3 on AmazonCat-13K is above any in
# the XML repository.
_TREADERXML = {
    "AmazonCat-13K": _row(
        (96.64, 85.57, 68.98), ndcg=(93.99, 91.67), psp=(57.15, 71.64, 77.27)
    ),
    "EURLex": _row((87.88, None, 64.05), ndcg=(80.70, 73.56)),
    "RCV1": _row((97.50, 78.74, 54.67), ndcg=(90.29, 90.94)),
}
# Table 3, whose last row (Config. ID 6) is the single model.
_TREADERXML_ROWS = {
    "config-0": _row((88.73, 69.12, 53.94), ndcg=(78.78, 75.42)),
    "config-1": _row((93.93, 77.70, 58.53), ndcg=(87.15, 81.79)),
    "config-2": _row((95.49, 83.45, 66.08), ndcg=(92.00, 88.81)),
    "config-3": _row((95.52, 83.46, 66.04), ndcg=(92.03, 88.81)),
    "config-4": _row((96.49, 85.44, 68.84), ndcg=(93.86, 91.52)),
    "config-5": _row((96.20, 84.89, 68.04), ndcg=(93.33, 90.72)),
}


def _single(results):
    return {dataset: {"single model": row} for dataset, row in results.items()}


RESULTS = {
    "lightxml": _LIGHTXML,
    "grank": _GRANK,
    "lightdxml": _single(_LIGHTDXML),
    "gudn": _merge(_single(_GUDN), _rows(_GUDN_ROWS)),
    "treaderxml": _merge(_single(_TREADERXML), {"AmazonCat-13K": _TREADERXML_ROWS}),
}
# Fig. 3 of X-GRank, in %. The text has this figure; the others can only be read off the
# plot.
RECALL = {"grank": {"Wiki-500K": {"R@512": 92.18}}}

# --------------------------------------------------------------------- Costs

# LightXML's Table 6, X-GRank's Table VI, LightDXML's Table II and GUDN's Table 5, in
# the papers' units, and always for a single model. LightXML's sizes are those of its
# weights if a GB is 2**30 bytes. X-GRank's ms of training are for a document in an
# epoch: its 6.9 and 14.1 ms for LightXML are the latter's hours.
COSTS = {
    "lightxml": {
        "Wiki-500K": {"training h": 34.33, "prediction ms": 3.75, "size GB": 1.47},
        "Amazon-670K": {"training h": 28.75, "prediction ms": 4.09, "size GB": 1.53},
    },
    "grank": {
        "Wiki-500K": {
            "training ms a document": 8.71,
            "prediction ms": 3.36,
            "size GB": 0.714,
        },
        "Amazon-670K": {
            "training ms a document": 8.44,
            "prediction ms": 3.12,
            "size GB": 0.797,
        },
    },
    "lightdxml": {
        "EURLex-4K": {"training s": 75, "prediction ms": 0.42, "size MB": 23.2},
        "AmazonCat-13K": {"training s": 1614, "prediction ms": 0.26, "size MB": 291.4},
        "Wiki10-31K": {"training s": 168, "prediction ms": 0.57, "size MB": 249.1},
        "WikiSeeAlsoTitles-350K": {
            "training s": 1430,
            "prediction ms": 0.36,
            "size GB": 1.5,
        },
        "AmazonTitles-670K": {
            "training s": 3535,
            "prediction ms": 0.66,
            "size GB": 2.84,
        },
    },
    "gudn": {
        "Eurlex-4K": {"training min an epoch": 1.50, "size GB": 2.66},
        "AmazonCat-13K": {"training min an epoch": 62.16, "size GB": 2.71},
        "Wiki10-31K": {"training min an epoch": 3.47, "size GB": 2.83},
        "Wiki-500K": {"training min an epoch": 95.43, "size GB": 3.12},
    },
    "treaderxml": {},
}
# Table IV of LightDXML: seconds of vectors of documents and labels (M1), of shortlists
# (M2), and of the classifier (M3, M4).
MODULES = {
    "EURLex-4K": {"M1": 21.6, "M2": 7.7, "M3, M4": 45.0},
    "Wiki10-31K": {"M1": 84.1, "M2": 10.5, "M3, M4": 72.0},
    "WikiSeeAlsoTitles-350K": {"M1": 303.0, "M2": 136.0, "M3, M4": 963.0},
}
# What these were measured on.
MACHINES = {
    "lightxml": "one Tesla V100",
    "grank": "one Tesla V100, with 128 tokens",
    "lightdxml": "20 cores of a Xeon E5-2640 v4, and two RTX 2080 Ti",
    "gudn": "four RTX 3090",
}

# --------------------------------------------------------------- Propensities

# A and B of the propensities, which the papers do not state. These values are usual for
# these data sets; the others have 0.55 and 1.5. The released code of LightDXML has 0.6
# and 2.6 on WikiSeeAlsoTitles-350K. PSP is normalised here. Eq. 10 of X-GRank is not,
# but the paper's values must be normalised: otherwise none could be below P@k.
PROPENSITY = {
    "Wiki-500K": dict(a=0.5, b=0.4),
    "Amazon-670K": dict(a=0.6, b=2.6),
    "AmazonTitles-670K": dict(a=0.6, b=2.6),
}

# Data sets for which Table I of X-GRank has no label texts.
WITHOUT_LABEL_TEXTS = {"Amazon-670K"}
