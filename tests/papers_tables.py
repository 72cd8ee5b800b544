"""The papers' tables of results, copied from the papers a second time for the tests.

Numbers are in the order of the paper; "-" is a cell that is empty there.
"""

# P@1, P@3, P@5 by system and row.
PRECISION = {
    ("lightxml", "ensemble"): """
        Eurlex-4K 87.63 75.89 63.36
        AmazonCat-13K 96.77 84.02 68.70
        Wiki10-31K 89.45 78.96 69.85
        Wiki-500K 77.78 58.85 45.57
        Amazon-670K 49.10 43.83 39.85
    """,
    ("lightxml", "single model"): """
        Wiki-500K 76.19 57.22 44.12
        Amazon-670K 47.14 42.02 38.23
    """,
    ("lightxml", "static-two-encoders"): """
        Wiki-500K 75.30 56.64 43.03
        Amazon-670K 46.27 41.40 37.69
    """,
    ("lightxml", "static"): """
        Wiki-500K 73.30 54.60 42.27
        Amazon-670K 43.36 38.55 34.96
    """,
    ("grank", "ensemble"): """
        Eurlex-4K 88.05 76.67 63.50
        AmazonCat-13K 97.35 84.08 68.97
        Wiki10-31K 89.92 78.64 69.67
        Wiki-500K 78.26 59.54 45.94
        Amazon-670K 49.36 44.73 40.37
    """,
    ("grank", "bce"): """
        Eurlex-4K 84.27 71.81 59.59
        Wiki10-31K 87.71 76.99 67.63
    """,
    ("grank", "no-label-texts"): """
        Eurlex-4K 86.30 73.82 61.99
        Wiki10-31K 88.63 77.72 68.75
    """,
    ("grank", "single model"): """
        Eurlex-4K 86.65 74.93 62.11
        Wiki10-31K 89.63 77.89 68.10
    """,
    ("gudn", "single model"): """
        Eurlex-4K 88.13 77.06 65.49
        AmazonCat-13K 96.71 84.19 67.96
        Wiki10-31K 89.75 78.58 69.86
        Wiki-500K 77.89 59.15 46.01
    """,
    ("gudn", "bert"): """
        Eurlex-4K 86.68 75.04 63.03
        AmazonCat-13K 96.10 82.89 67.01
        Wiki10-31K 88.76 77.65 68.51
        Wiki-500K 77.37 58.09 45.46
    """,
    ("gudn", "feature-guide"): """
        Eurlex-4K 87.93 76.64 65.02
        AmazonCat-13K 96.56 83.98 67.66
        Wiki10-31K 89.62 77.98 69.67
        Wiki-500K 77.76 58.98 45.69
    """,
    ("gudn", "link-guide"): """
        Eurlex-4K 87.21 75.09 63.93
        AmazonCat-13K 96.12 83.10 67.28
        Wiki10-31K 89.21 77.63 68.94
        Wiki-500K 77.41 58.16 45.62
    """,
    ("gudn", "longformer-512"): """
        Eurlex-4K 88.01 77.08 65.37
        AmazonCat-13K 96.18 84.15 67.86
        Wiki10-31K 89.70 78.58 69.87
        Wiki-500K 77.87 59.16 45.98
    """,
    ("gudn", "longformer-1024"): """
        Eurlex-4K 88.12 76.96 65.29
        AmazonCat-13K 96.26 84.21 67.99
        Wiki10-31K 89.96 78.62 69.93
        Wiki-500K 77.90 59.20 46.07
    """,
    ("gudn", "longformer-2048"): """
        Eurlex-4K 88.03 76.90 65.13
        AmazonCat-13K 96.25 84.07 67.79
        Wiki10-31K 90.08 78.71 70.03
        Wiki-500K 77.94 59.29 46.12
    """,
    ("gudn", "longformer-4096"): """
        Eurlex-4K 87.95 76.90 64.98
        AmazonCat-13K 96.73 84.06 67.62
        Wiki10-31K 90.21 78.83 70.16
        Wiki-500K 78.01 59.31 46.18
    """,
    ("lightdxml", "single model"): """
        EURLex-4K 82.38 67.94 56.18
        AmazonCat-13K 94.76 79.06 64.96
        Wiki10-31K 86.31 73.45 64.37
        WikiSeeAlsoTitles-350K 19.92 13.69 11.02
        AmazonTitles-670K 39.12 35.88 33.96
    """,
}
# PSP@1, PSP@3, PSP@5.
PSP = {
    ("grank", "ensemble"): """
        Eurlex-4K 45.04 53.28 57.12
        AmazonCat-13K 55.63 69.27 75.78
        Wiki10-31K 15.27 16.89 18.01
        Wiki-500K 33.50 40.73 42.81
        Amazon-670K 32.21 34.60 39.02
    """,
    ("gudn", "single model"): """
        Eurlex-4K 43.89 50.61 54.98
        AmazonCat-13K 54.69 70.98 77.04
        Wiki10-31K 15.99 16.87 18.16
        Wiki-500K 32.71 41.91 46.53
    """,
    ("lightdxml", "single model"): """
        EURLex-4K 38.51 44.57 47.39
        AmazonCat-13K 59.88 67.40 71.43
        Wiki10-31K 23.43 21.68 21.18
        WikiSeeAlsoTitles-350K 10.35 11.30 12.55
        AmazonTitles-670K 27.23 28.83 30.56
    """,
    ("treaderxml", "single model"): """
        AmazonCat-13K 57.15 71.64 77.27
    """,
}
# nDCG@3, nDCG@5.
NDCG = {
    ("gudn", "single model"): """
        Eurlex-4K 78.19 72.75
        AmazonCat-13K 91.98 90.06
        Wiki10-31K 81.38 74.63
        Wiki-500K 75.16 73.78
    """,
}
# P@1, P@3, P@5, nDCG@3, nDCG@5.
TREADERXML = {
    "single model": """
        AmazonCat-13K 96.64 85.57 68.98 93.99 91.67
        EURLex 87.88 - 64.05 80.70 73.56
        RCV1 97.50 78.74 54.67 90.29 90.94
    """,
    "config-0": """
        AmazonCat-13K 88.73 69.12 53.94 78.78 75.42
    """,
    "config-1": """
        AmazonCat-13K 93.93 77.70 58.53 87.15 81.79
    """,
    "config-2": """
        AmazonCat-13K 95.49 83.45 66.08 92.00 88.81
    """,
    "config-3": """
        AmazonCat-13K 95.52 83.46 66.04 92.03 88.81
    """,
    "config-4": """
        AmazonCat-13K 96.49 85.44 68.84 93.86 91.52
    """,
    "config-5": """
        AmazonCat-13K 96.20 84.89 68.04 93.33 90.72
    """,
    "config-6": """
        AmazonCat-13K 96.64 85.57 68.98 93.99 91.67
    """,
}
# Table 7 of GUDN: what multi-hot vectors gain over BERT.
GAINS = """
    Eurlex-4K 0.03 0.32 0.13
    AmazonCat-13K 0.18 0.08 0.16
    Wiki10-31K 0.15 0.18 0.10
    Wiki-500K 0.19 0.22 0.10
"""
# Seconds of training, size, ms of prediction in Table II of LightDXML.
LIGHTDXML_COSTS = """
    EURLex-4K 75s 23.2M 0.42
    AmazonCat-13K 1614s 291.4M 0.26
    Wiki10-31K 168s 249.1M 0.57
    WikiSeeAlsoTitles-350K 1430s 1.5G 0.36
    AmazonTitles-670K 3535s 2.84G 0.66
"""
