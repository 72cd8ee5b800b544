"""Write small fitted models in the current format, as later versions must load them.

    python tests/saved_models.py

Each model is written once, to tests/saved/FORMAT, and is never written
again: `test_folder_of_every_format` loads all of them and compares what they
predict. If a change of the code breaks that test, it needs a new `FORMAT`, or a
translation of the older one.
"""

import json
import tempfile
from pathlib import Path

import numpy as np
import scipy.sparse as sp
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

import skxmc
from skxmc.persistence._folder import FORMAT

FOLDER = Path(__file__).parent / "saved" / str(FORMAT)
WORDS = "one two three four five six seven eight nine ten eleven twelve".split()
QUICK = dict(
    max_epochs=2, validation_fraction=0, precision="fp32", device="cpu", random_state=0
)


def written():
    """Folders of all formats: models of `main`, and models of earlier versions."""
    return sorted(path.with_suffix("") for path in FOLDER.parent.glob("*/*.json"))


def documents(name):
    """24 documents of 12 words, and 8 labels: each is one of the first words.

    Texts if the name of the model says so, otherwise counts of words.
    """
    rows, columns = np.divmod(np.arange(24 * 12), 12)
    counts = (rows**2 + rows * columns + 3 * columns**2) % 11 // 3
    counts = counts.reshape(24, 12)
    Y = sp.csr_array((counts[:, :8] == 3).astype(np.int8))
    if "Texts" in name:
        texts = [" ".join(np.repeat(WORDS, row)) for row in counts]
        return texts, Y
    return sp.csr_array(counts.astype(np.float32)), Y


def make_models(encoder):
    """Unfitted models by name."""
    few = dict(max_leaf_size=3, n_shortlist=2, predict_shortlist=2)
    reads = dict(encoder=encoder, n_layers=2, max_length=16)
    exact = dict(min_df=1, search="exact")
    members = [
        ("grank", skxmc.GRankClassifier(label_dim=4, **QUICK)),
        ("lightxml", skxmc.LightXMLClassifier(label_dim=4, **QUICK | few)),
        ("left out", "drop"),
    ]
    return {
        "GRank": skxmc.GRankClassifier(label_dim=8, **QUICK),
        "GUDN": skxmc.GUDNClassifier(label_dim=8, **QUICK),
        "LightDXML": skxmc.LightDXMLClassifier(label_dim=8, **QUICK),
        "LightXML": skxmc.LightXMLClassifier(label_dim=8, **QUICK),
        "TReaderXML": skxmc.TReaderXMLClassifier(word_dim=8, **QUICK),
        "Ensemble": skxmc.EnsembleClassifier(members, weights=[2, 1, 0]),
        "GRankTexts": skxmc.GRankClassifier(
            label_texts=WORDS[:8], **QUICK | few | reads
        ),
        "GUDNTexts": skxmc.GUDNClassifier(
            variant="paper",
            label_layers=2,
            label_dim=8,
            label_texts=WORDS[:8],
            **QUICK | reads,
        ),
        "LightDXMLTexts": skxmc.LightDXMLClassifier(
            label_dim=4, n_frequent=2, **QUICK | exact
        ),
        "TReaderXMLTexts": skxmc.TReaderXMLClassifier(
            word_dim=8, label_texts=WORDS[:8], layer_norm=True, **QUICK | few | exact
        ),
    }


def write_encoder(folder):
    """Write a random BERT of 2 layers x 8, and its tokenizer."""
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    vocab = {word: i for i, word in enumerate(special + WORDS)}
    tokenizer = Tokenizer(models.WordLevel(vocab, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    names = ("pad", "unk", "cls", "sep", "mask")
    tokens = dict(zip([f"{name}_token" for name in names], special, strict=True))
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **tokens).save_pretrained(
        folder
    )
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(vocab),
        hidden_size=8,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=8,
        max_position_embeddings=32,
    )
    BertModel(config).save_pretrained(folder)


def main():
    FOLDER.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as encoder:
        write_encoder(encoder)
        for name, model in make_models(encoder).items():
            if (FOLDER / name).exists():
                continue
            X, Y = documents(name)
            model.fit(X, Y)
            model.set_params(**{"encoder": "bert"} if "encoder" in vars(model) else {})
            model.save_pretrained(FOLDER / name)
            ids, scores = model.predict_topk(X, 3)
            predicted = {"ids": ids.tolist(), "scores": scores.tolist()}
            (FOLDER / f"{name}.json").write_text(json.dumps(predicted) + "\n")


if __name__ == "__main__":
    main()
