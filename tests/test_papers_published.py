"""benchmarks/_published.py: every figure, against a second copy of the papers' tables.

The second copy is in papers_tables.py for the results; the short tables stand here.
"""

import papers_tables as tables
import pytest

pytest_plugins = ["papers_fixtures"]

# Data sets: training and test documents, labels, labels a document.
STATISTICS = {
    "lightxml": """
        Eurlex-4K 15,449 3,865 3,956 5.30
        Wiki10-31K 14,146 6,616 30,938 18.64
        AmazonCat-13K 1,186,239 306,782 13,330 5.04
        Amazon-670K 490,449 153,025 670,091 5.45
        Wiki-500K 1,779,881 769,421 501,008 4.75
    """,
    "grank": """
        Eurlex-4K 15,449 3,865 3,956 5.30
        AmazonCat-13K 1,186,239 306,782 13,330 5.04
        Wiki10-31K 14,146 6,616 30,938 18.64
        Wiki-500K 1,779,881 769,421 501,070 4.75
        Amazon-670K 490,449 153,025 670,091 5.45
    """,
    "gudn": """
        Eurlex-4K 15539 3809 3993 5.31
        AmazonCat-13K 1186239 306782 13330 5.04
        Wiki10-31K 14146 6616 30938 18.64
        Wiki-500K 1813391 783743 501070 4.89
    """,
    "treaderxml": """
        AmazonCat-13K 1,186,239 306,782 13,330 5.04
        EURLex 15449 3865 3956 5.30
        RCV1 23,149 781,265 103 3.18
    """,
}
# N, L and V.
OF_LIGHTDXML = """
    EURLex-4K 15,539 3,993 5,000
    AmazonCat-13K 1,186,239 13,330 203,882
    Wiki10-31K 14,146 30,938 101,938
    WikiSeeAlsoTitles-350K 629,418 352,072 91,414
    AmazonTitles-670K 485,176 670,091 66,666
"""
# Training, prediction, size.
COSTS = {
    "lightxml": (
        ("training h", "prediction ms", "size GB"),
        """
            Wiki-500K 34.33 3.75 1.47
            Amazon-670K 28.75 4.09 1.53
        """,
    ),
    "grank": (
        ("training ms a document", "prediction ms", "size GB"),
        """
            Wiki-500K 8.71 3.36 0.714
            Amazon-670K 8.44 3.12 0.797
        """,
    ),
    "gudn": (
        ("size GB", "training min an epoch"),
        """
            Eurlex-4K 2.66 1.50
            AmazonCat-13K 2.71 62.16
            Wiki10-31K 2.83 3.47
            Wiki-500K 3.12 95.43
        """,
    ),
}


def read(text):
    """Numbers by data set; None for "-"."""
    rows = (line.split() for line in text.strip().splitlines())
    return {
        name: [None if c == "-" else float(c.replace(",", "")) for c in cells]
        for name, *cells in rows
    }


def results():
    """All results by system, data set, row and metric."""
    found = {}

    def add(system, row, text, metrics):
        for dataset, values in read(text).items():
            cells = found.setdefault((system, dataset, row), {})
            cells.update(zip(metrics, values, strict=True))

    precision, ndcg = ("P@1", "P@3", "P@5"), ("nDCG@3", "nDCG@5")
    for (system, row), text in tables.PRECISION.items():
        add(system, row, text, precision)
    for (system, row), text in tables.PSP.items():
        add(system, row, text, ("PSP@1", "PSP@3", "PSP@5"))
    for (system, row), text in tables.NDCG.items():
        add(system, row, text, ndcg)
    for row, text in tables.TREADERXML.items():
        add("treaderxml", row, text, precision + ndcg)
    return found


def test_every_result(published):
    expected = results()
    # The last row of TReaderXML's ablations is its model.
    best = expected.pop(("treaderxml", "AmazonCat-13K", "config-6"))
    model = expected["treaderxml", "AmazonCat-13K", "single model"]
    assert model | best == model
    bert = {d: expected["gudn", d, "bert"] for d in read(tables.GAINS)}
    for dataset, gains in read(tables.GAINS).items():
        sums = [p + gain for p, gain in zip(bert[dataset].values(), gains, strict=True)]
        expected["gudn", dataset, "multi-hot"] = {
            name: pytest.approx(value)
            for name, value in zip(bert[dataset], sums, strict=True)
        }

    found = {
        (system, dataset, row): figures
        for system, of_system in published.RESULTS.items()
        for dataset, of_dataset in of_system.items()
        for row, figures in of_dataset.items()
    }
    assert found.keys() == expected.keys()
    for key, figures in found.items():
        assert list(figures) == list(published.METRICS)
        assert figures == {name: expected[key].get(name) for name in published.METRICS}


@pytest.mark.parametrize("system", STATISTICS)
def test_every_statistic(published, system):
    names = ["N train", "N test", "L", "labels a document"]
    expected = {
        dataset: dict(zip(names, values, strict=True))
        for dataset, values in read(STATISTICS[system]).items()
    }
    assert published.STATISTICS[system] == expected


def test_every_statistic_of_lightdxml(published):
    expected = {
        dataset: dict(zip(["N train", "L", "V"], values, strict=True))
        for dataset, values in read(OF_LIGHTDXML).items()
    }
    assert published.STATISTICS["lightdxml"] == expected
    assert published.COUNTS_COLUMNS == ("lightdxml", "gudn")


def test_counts_are_exact_and_means_are_not(published):
    # `differing` allows for the last digit of floats alone.
    for of_system in published.STATISTICS.values():
        for figures in of_system.values():
            for name, value in figures.items():
                assert isinstance(value, float) == (name == "labels a document")


def test_every_cost(published):
    expected = {
        system: {
            dataset: dict(zip(names, values, strict=True))
            for dataset, values in read(text).items()
        }
        for system, (names, text) in COSTS.items()
    }
    expected["lightdxml"] = {}
    for line in tables.LIGHTDXML_COSTS.strip().splitlines():
        dataset, seconds, size, ms = line.split()
        expected["lightdxml"][dataset] = {
            "training s": float(seconds.rstrip("s")),
            "prediction ms": float(ms),
            f"size {size[-1]}B": float(size[:-1]),
        }
    expected["treaderxml"] = {}
    assert published.COSTS == expected
    assert published.MACHINES == {
        "lightxml": "one Tesla V100",
        "grank": "one Tesla V100, with 128 tokens",
        "lightdxml": "20 cores of a Xeon E5-2640 v4, and two RTX 2080 Ti",
        "gudn": "four RTX 3090",
    }


def test_the_papers_agree_on_the_cost_of_lightxml(published):
    # X-GRank's Table VI has 6.9 and 14.1 ms of training for LightXML, which are its
    # hours over documents and epochs.
    for dataset, epochs, ms in (("Wiki-500K", 10, 6.9), ("Amazon-670K", 15, 14.1)):
        hours = published.COSTS["lightxml"][dataset]["training h"]
        n_docs = published.STATISTICS["lightxml"][dataset]["N train"]
        assert 3.6e6 * hours / n_docs / epochs == pytest.approx(ms, abs=0.05)


def test_every_time_of_a_module(published):
    expected = """
        EURLex-4K 21.6 7.7 45.0
        Wiki10-31K 84.1 10.5 72.0
        WikiSeeAlsoTitles-350K 303.0 136.0 963.0
    """
    assert published.MODULES == {
        dataset: dict(zip(("M1", "M2", "M3, M4"), values, strict=True))
        for dataset, values in read(expected).items()
    }
    # They add up to about the seconds of Table II.
    for dataset, modules in published.MODULES.items():
        total = published.COSTS["lightdxml"][dataset]["training s"]
        assert sum(modules.values()) == pytest.approx(total, rel=0.02)


def test_recall(published):
    assert published.RECALL == {"grank": {"Wiki-500K": {"R@512": 92.18}}}


def test_propensities(published):
    assert published.PROPENSITY == {
        "Wiki-500K": {"a": 0.5, "b": 0.4},
        "Amazon-670K": {"a": 0.6, "b": 2.6},
        "AmazonTitles-670K": {"a": 0.6, "b": 2.6},
    }
    assert published.WITHOUT_LABEL_TEXTS == {"Amazon-670K"}
