import os

# Before scipy is imported: scikit-learn's array API check is skipped without it.
os.environ["SCIPY_ARRAY_API"] = "1"
os.environ["HF_HUB_OFFLINE"] = "1"

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from command_line import train, write_folder, write_table
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

import skxmc
from skxmc.nn import optimizer, rowwise

torch.set_num_threads(1)

# Test modules name these as plugins, whose assertions pytest rewrites when it imports
# them first. Looking for doctests in them would import them before that.
collect_ignore = [
    "group_fixtures.py",
    "inspection_fixtures.py",
    "persistence_fixtures.py",
]

WORDS = (
    "red green blue fox dog cat tree house river stone bright dark old new fast slow "
    "under over near far one two three four five six seven eight nine ten"
).split()


@pytest.fixture(scope="session")
def tiny_tokenizer():
    """A fast WordPiece tokenizer, made on the spot: [CLS] text [SEP]."""
    # Written out: a trained vocabulary has its ids in another order every time.
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    letters = sorted(set("".join(WORDS)))
    pieces = special + letters + [f"##{letter}" for letter in letters] + sorted(WORDS)
    vocab = {piece: i for i, piece in enumerate(dict.fromkeys(pieces))}
    tokenizer = Tokenizer(models.WordPiece(vocab, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        unk_token="[UNK]",
        pad_token="[PAD]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
    )


@pytest.fixture(scope="session")
def tiny_model(tiny_tokenizer):
    """A random BERT of 2 layers x 16."""
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(tiny_tokenizer),
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=64,
    )
    return BertModel(config).eval()


@pytest.fixture(scope="session")
def tiny_encoder(tiny_model, tiny_tokenizer, tmp_path_factory):
    """Folder of the random BERT and its tokenizer, as a user would name it."""
    folder = tmp_path_factory.mktemp("tiny-bert")
    tiny_model.save_pretrained(folder)
    tiny_tokenizer.save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="session")
def colours():
    """60 texts of 4 words and their labels: label j stands where WORDS[j] does."""
    rng = np.random.default_rng(0)
    chosen = np.sort(rng.permuted(np.tile(np.arange(12), (60, 1)), axis=1)[:, :4])
    texts = [" ".join(WORDS[j] for j in row) for row in chosen]
    rows = np.repeat(np.arange(60), 4)
    Y = sp.csr_array((np.ones(240), (rows, chosen.ravel())), (60, 12))
    return texts, Y, WORDS[:12]


@pytest.fixture(scope="session")
def colour_rows(colours):
    """The colours as rows of a table: texts, and lists of the names of labels."""
    texts, Y, names = colours
    lists = [[names[j] for j in Y[[i]].indices] for i in range(len(texts))]
    return [dict(text=t, labels=n) for t, n in zip(texts, lists, strict=True)]


@pytest.fixture(scope="session")
def colour_table(tmp_path_factory, colour_rows):
    """The rows as a CSV file."""
    return write_table(tmp_path_factory.mktemp("table") / "train.csv", colour_rows)


@pytest.fixture(scope="session")
def colour_model(tmp_path_factory, colour_table):
    """Folder of a model that the command line trained on the table."""
    model = tmp_path_factory.mktemp("of-table") / "model"
    train(colour_table, model)
    return model


@pytest.fixture(scope="session")
def colour_classifier(colour_model):
    return skxmc.load(colour_model)


@pytest.fixture(scope="session")
def colour_folder(tmp_path_factory, colour_rows, colours):
    """A raw-text folder, the model trained on it, and what training printed."""
    folder, names = tmp_path_factory.mktemp("folder"), colours[2]
    data = write_folder(folder / "raw", colour_rows, names, label_names=names)
    return data, folder / "model", train(data, folder / "model")


@pytest.fixture
def float32_cpu(monkeypatch):
    """The CPU has no instructions for bf16, as most."""
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)


def kept_for_gradient(encoder, batch):
    """Bytes that autograd keeps of a batch, but for weights."""
    kept = []  # of every tensor, that its place is not used again
    with torch.autograd.graph.saved_tensors_hooks(
        lambda tensor: kept.append(tensor) or tensor, lambda tensor: tensor
    ):
        encoder.train()(batch)
    places = {t.untyped_storage().data_ptr(): t.untyped_storage() for t in kept}
    own = {p.untyped_storage().data_ptr() for p in encoder.parameters()}
    return sum(s.nbytes() for place, s in places.items() if place not in own)


@pytest.fixture
def taken_steps(monkeypatch):
    """The learning rates of each step that is made, and the weights after it."""
    steps, tables = [], []

    class Recorder(torch.optim.AdamW):
        def step(self, *args, **kwargs):
            rates = [group["lr"] for group in self.param_groups]
            found = super().step(*args, **kwargs)
            parameters = [p for group in self.param_groups for p in group["params"]]
            for table in tables:  # which have taken their step before
                table.catch_up()
                parameters.append(table.vectors)
            steps.append((rates, [p.detach().clone() for p in parameters]))
            return found

    class ByRow(rowwise.RowwiseAdamW):
        def __init__(self, vectors, *args, **options):
            super().__init__(vectors, *args, **options)
            tables.append(self)

    monkeypatch.setattr(torch.optim, "AdamW", Recorder)
    monkeypatch.setattr(rowwise, "RowwiseAdamW", ByRow)
    return steps


@pytest.fixture
def plain_steps(monkeypatch):
    """Steps of the schedule's factor times the gradient: AdamW hides a factor."""
    from toy_network import RATE  # which imports this file

    class ByRow(rowwise.RowwiseAdamW):
        @torch.no_grad()
        def step(self, rate, *, scale=None, applies=None):
            for rows, gradient in self._gradients():
                gradient = gradient if scale is None else gradient * scale
                self.vectors.index_add_(0, rows, gradient, alpha=-rate / RATE)
            self.forget()

    def sgd(network, *rest):
        dense = [p for p in network.parameters() if p.requires_grad]
        return torch.optim.SGD(dense, lr=1.0)

    monkeypatch.setattr(rowwise, "RowwiseAdamW", ByRow)
    monkeypatch.setattr(optimizer, "_make_adamw", sgd)


def encode_densely(encoder, batch):
    """What a bag of features returns, by operations that torch differentiates."""
    each = encoder.features.table[batch["features"]]
    bag = (each * batch["weights"][:, :, None]).sum(dim=1)
    states = bag + encoder.block(bag)
    return states, states


@pytest.fixture
def gradient_by_row():
    """Function that writes out the gradient of a table that is trained by row."""

    def write_out(module):
        dense = torch.zeros_like(module.table)
        for ids, docs, weights in module.touched:
            each = weights[:, :, None] * docs[:, None]
            dense = dense.index_add(0, ids.flatten(), each.flatten(0, 1))
        return dense.detach()

    return write_out
