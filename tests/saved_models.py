"""Write the model folders that later versions are held to: once for every format.

    python tests/saved_models.py

`test_format_is_still_read` loads them, and compares what they predict. A change of the
code that needs another `FORMAT` is one that they do not survive.
"""

import json
from pathlib import Path

import numpy as np
import scipy.sparse as sp

import skxmc
from skxmc.persistence import FORMAT

FOLDER = Path(__file__).parent / "saved" / str(FORMAT)
SYSTEMS = ("GRank", "GUDN", "LightDXML", "LightXML", "TReaderXML")


def written():
    """Folders of all formats: models of `main`, and others that once were different."""
    return sorted(path.with_suffix("") for path in FOLDER.parent.glob("*/*.json"))


def documents():
    """24 documents of 12 words, and 8 labels: each is one of the first words."""
    rows, columns = np.divmod(np.arange(24 * 12), 12)
    counts = (rows**2 + rows * columns + 3 * columns**2) % 11 // 3
    counts = counts.reshape(24, 12).astype(np.float32)
    return sp.csr_array(counts), sp.csr_array((counts[:, :8] == 3).astype(np.int8))


def main():
    FOLDER.mkdir()  # what stands there stays as it is
    X, Y = documents()
    for system in SYSTEMS:
        kind = getattr(skxmc, f"{system}Classifier")
        width = "word_dim" if system == "TReaderXML" else "label_dim"
        model = kind(
            max_epochs=2,
            validation_fraction=0,
            precision="fp32",
            device="cpu",
            random_state=0,
            **{width: 8},
        )
        model.fit(X, Y).save_pretrained(FOLDER / system)
        ids, scores = model.predict_topk(X, 3)
        predicted = {"ids": ids.tolist(), "scores": scores.tolist()}
        (FOLDER / f"{system}.json").write_text(json.dumps(predicted) + "\n")


if __name__ == "__main__":
    main()
