"""Encoders that peft has wrapped: adapters alone are trained, kept and merged."""

import copy
import json
import pickle
import shutil
import sys

import numpy as np
import pytest
import torch
import transformers
from hostile import sign
from safetensors.torch import load_file
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV

import skxmc
from skxmc import GRankClassifier, GUDNClassifier, LightXMLClassifier
from skxmc._fingerprint import fit_fingerprint
from skxmc._testing import raise_at_step
from skxmc.feature_extraction import TextEncoder
from skxmc.nn import adapters, devices
from skxmc.nn.encoders import TransformerEncoder

peft = pytest.importorskip("peft")

QUICK = dict(max_epochs=1, batch_size=8, precision="fp32", device="cpu")
QUICK |= dict(random_state=0, bag_of_words=False, validation_fraction=0)
QUICK |= dict(trained_layers="all", learning_rate=1e-2)
LORA = dict(r=4, lora_alpha=8, target_modules=["query", "value"], lora_dropout=0.1)
SYSTEMS = [GRankClassifier, LightXMLClassifier, GUDNClassifier]
KEPT_TUPLE = pytest.mark.filterwarnings("ignore:.*encoder is tuple")


def wrap(model, kind="LoraConfig", **options):
    """A PeftModel whose adapters are not zero."""
    torch.manual_seed(0)
    wrapped = peft.get_peft_model(
        copy.deepcopy(model), getattr(peft, kind)(**(options or LORA))
    )
    with torch.no_grad():
        for name, parameter in wrapped.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.3)
    return wrapped


@pytest.fixture
def pair(tiny_model, tiny_tokenizer):
    return wrap(tiny_model), tiny_tokenizer


def fit(pair, colours, kind=GRankClassifier, **options):
    texts, Y, names = colours
    model = kind(pair, **QUICK | dict(label_texts=names) | options)
    return model.fit(texts[:20], Y[:20])


def save(model, folder):
    with pytest.warns(UserWarning, match="encoder is tuple"):
        model.save_pretrained(folder)
    return folder


def scores(model, texts):
    return model.decision_function(texts).toarray()


def encoder_weights(model):
    return dict(model.network_.encoder.model.named_parameters())


# What is trained


@pytest.mark.parametrize("kind", SYSTEMS)
@pytest.mark.parametrize("n_trained", [1, "all"])
def test_adapters_alone_are_trained(n_trained, kind, pair, colours):
    before = {
        name: weight.clone()
        for name, weight in pair[0].get_base_model().named_parameters()
    }
    model = fit(pair, colours, kind, trained_layers=n_trained)
    after = encoder_weights(model)
    changed = {n for n, weight in after.items() if not torch.equal(weight, before[n])}
    adapted = {name for name in before if ".lora_" in name}
    if n_trained == 1:
        adapted = {name for name in adapted if ".layer.1." in name}
    assert changed == adapted == {n for n, p in after.items() if p.requires_grad}
    # The user's model is copied.
    for name, weight in pair[0].get_base_model().named_parameters():
        assert torch.equal(weight, before[name])


@pytest.mark.parametrize("loaded", [False, True])
@pytest.mark.parametrize("kind", SYSTEMS)
@pytest.mark.parametrize("n_trained", [1, "all"])
@KEPT_TUPLE
def test_adapters_alone_are_trained_further(
    n_trained, kind, loaded, pair, colours, tmp_path
):
    texts, Y, names = colours
    model = fit(pair, colours, kind, trained_layers=n_trained, neighbor_weight=0)
    if loaded:
        model = skxmc.load(save(model, tmp_path / "model"))
    before = {n: w.clone() for n, w in encoder_weights(model).items()}
    adapted = {n for n in before if ".lora_" in n}
    if n_trained == 1:
        adapted = {name for name in adapted if ".layer.1." in name}
    model.set_params(warm_start=True).fit(texts, Y)
    after = encoder_weights(model)
    changed = {n for n, weight in after.items() if not torch.equal(weight, before[n])}
    assert changed == adapted == {n for n, p in after.items() if p.requires_grad}


@pytest.mark.parametrize("loaded", [False, True])
@pytest.mark.parametrize("n_trained", [1, "all"])
@KEPT_TUPLE
def test_merged_weights_are_trained_further(
    n_trained, loaded, pair, colours, tmp_path, recwarn
):
    texts, Y, _ = colours
    model = fit(pair, colours, trained_layers=n_trained).merge_adapters()
    if loaded:
        model.save_pretrained(tmp_path / "model")
        model = skxmc.load(tmp_path / "model")
    before = {n: w.clone() for n, w in encoder_weights(model).items()}
    model.set_params(warm_start=True).fit(texts, Y)
    after = encoder_weights(model)
    changed = {n for n, weight in after.items() if not torch.equal(weight, before[n])}
    assert changed == {n for n in after if n_trained == "all" or ".layer.1." in n}


def test_the_first_reading_is_that_of_the_wrapped_model(pair, colours):
    texts = colours[0][:6]
    encoder = TextEncoder(pair, normalize=False, precision="fp32")
    found = encoder.fit_transform(texts)
    for text, vector in zip(texts, found, strict=True):
        ids = torch.tensor([pair[1](text)["input_ids"]])
        with torch.no_grad():
            expected = pair[0].eval()(input_ids=ids).last_hidden_state[0].mean(0)
        np.testing.assert_allclose(vector, expected.numpy(), atol=1e-5)
    bare = TextEncoder((pair[0].unload(), pair[1]), normalize=False, precision="fp32")
    assert abs(bare.fit_transform(texts) - found).max() > 1e-2


def test_adapters_that_transformers_has_added(tiny_model, tiny_tokenizer, colours):
    # As by its own add_adapter, which needs peft of its own time.
    model = copy.deepcopy(tiny_model)
    peft.inject_adapter_in_model(peft.LoraConfig(**LORA), model)
    model._hf_peft_config_loaded = True
    fitted = fit((model, tiny_tokenizer), colours)
    trained = {n for n, p in encoder_weights(fitted).items() if p.requires_grad}
    assert trained and all(".lora_" in name for name in trained)


@pytest.mark.parametrize("options", [dict(trained_layers=0), dict(reading="words")])
def test_adapters_that_are_not_trained_are_told(options, pair, colours, tiny_model):
    with pytest.warns(UserWarning, match='not trained.*trained_layers="all"'):
        model = fit(pair, colours, **options)
    plain = fit((tiny_model, pair[1]), colours, **options)
    assert not np.allclose(scores(model, colours[0]), scores(plain, colours[0]))


def test_frozen_adapters(pair, colours, recwarn):
    pair[0].requires_grad_(False)
    with pytest.raises(ValueError, match="is_trainable=True, or set trained_layers=0"):
        fit(pair, colours)
    fit(pair, colours, trained_layers=0)
    assert not [w for w in recwarn if "adapter" in str(w.message)]


@pytest.mark.parametrize(
    "kind, options",
    [
        ("LoHaConfig", dict(r=2, target_modules=["query"])),
        ("LoKrConfig", dict(r=2, target_modules=["query"])),
        (
            "IA3Config",
            dict(target_modules=["query", "value"], feedforward_modules=[]),
        ),
        ("LoraConfig", dict(LORA, use_dora=True)),
        ("LoraConfig", dict(LORA, target_modules="all-linear", use_rslora=True)),
    ],
)
def test_adapters_of_other_kinds(kind, options, tiny_model, tiny_tokenizer, colours):
    pair = wrap(tiny_model, kind, **options), tiny_tokenizer
    model = fit(pair, colours)
    expected = scores(model, colours[0])
    twin = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(scores(twin, colours[0]), expected)
    assert twin.merge_adapters() is twin
    assert not twin.network_.encoder.has_adapter
    np.testing.assert_allclose(scores(twin, colours[0]), expected, atol=1e-4)


@pytest.mark.parametrize("n_trained", [1, "all"])
def test_memory_counts_what_is_trained(n_trained, pair, tiny_model, monkeypatch):
    freed = []
    monkeypatch.setattr(devices, "_free_memory", lambda device: freed[-1])

    def estimate(model):
        encoder = TransformerEncoder(
            copy.deepcopy(model),
            n_layers=1,
            n_trained=None if n_trained == "all" else n_trained,
        )
        network = torch.nn.Module()
        network.encoder, network.n_candidates = encoder, 0
        network.floats_per_document = lambda length: 0
        freed.append(0)
        with pytest.raises(MemoryError, match=r"of (.*) GiB of weights"):
            devices.check_memory(network, 10, 1, "cpu")
        size = sum(p.numel() for p in encoder.parameters() if p.requires_grad)
        freed.append(4 * 3 * size)  # a gradient and two moments of each
        devices.check_memory(network, 10, 1, "cpu")
        freed.append(4 * 3 * size - 1)
        with pytest.raises(MemoryError):
            devices.check_memory(network, 10, 1, "cpu")
        return size, encoder.floats_per_document(16)

    small, large = estimate(pair[0].get_base_model()), estimate(tiny_model)
    n_layers = 1 if n_trained == 1 else 2
    assert small[0] == n_layers * 2 * 2 * 4 * 16  # of A and B, of two maps
    assert small[0] < large[0] / 3 and small[1] != large[1]


# Copies, resumption and searches


@pytest.mark.parametrize("duplicate", [copy.deepcopy, "pickle"])
@pytest.mark.parametrize("n_trained", [None, 1])
def test_copies(duplicate, n_trained, pair, colours):
    model = fit(pair, colours, trained_layers=n_trained or "all")
    state = torch.get_rng_state()
    if duplicate == "pickle":
        twin = pickle.loads(pickle.dumps(model))
    else:
        twin = duplicate(model)
    assert torch.equal(torch.get_rng_state(), state)
    expected = scores(model, colours[0])
    np.testing.assert_array_equal(scores(twin, colours[0]), expected)
    weights, others = encoder_weights(model), encoder_weights(twin)
    assert {n: p.requires_grad for n, p in weights.items()} == {
        n: p.requires_grad for n, p in others.items()
    }
    with torch.no_grad():
        for parameter in twin.network_.parameters():
            parameter.zero_()
    np.testing.assert_array_equal(scores(model, colours[0]), expected)


def test_fits_do_not_share_adapters(pair, colours):
    texts, Y, _ = colours
    expected = scores(fit(pair, colours), texts)
    estimator = GRankClassifier(pair, **QUICK, label_texts=colours[2])
    first, second = (clone(estimator).fit(texts[:20], Y[:20]) for _ in range(2))
    np.testing.assert_array_equal(scores(first, texts), expected)
    np.testing.assert_array_equal(scores(second, texts), expected)
    rates = [1e-2, 0.0]
    search = GridSearchCV(estimator, {"learning_rate": rates}, cv=2, scoring=spread)
    search.fit(texts[:20], Y[:20])
    np.testing.assert_array_equal(scores(search.best_estimator_, texts), expected)
    untrained = clone(estimator).set_params(learning_rate=0.0).fit(texts[:20], Y[:20])
    before = dict(pair[0].get_base_model().named_parameters())
    for name, weight in encoder_weights(untrained).items():
        assert torch.equal(weight, before[name])


def spread(estimator, X, y):
    """A score that prefers adapters that have moved."""
    return estimator.learning_rate


def test_resumes_from_a_checkpoint(pair, colours, tmp_path):
    options = dict(max_epochs=2, checkpoint_dir=tmp_path, encoder_dropout=0.1)
    expected = scores(fit(pair, colours, **options), colours[0])
    with raise_at_step(5, RuntimeError("power cut")):
        with pytest.raises(RuntimeError, match="power cut"):
            fit(pair, colours, **options)
    assert list(tmp_path.glob("*.checkpoint"))
    found = scores(fit(pair, colours, **options), colours[0])
    np.testing.assert_array_equal(found, expected)


def test_checkpoints_tell_adapters_apart(tiny_model, tiny_tokenizer, colours):
    texts, Y, _ = colours
    names = set()
    for alpha in (8, 16, 8):
        model = wrap(tiny_model, **LORA | dict(lora_alpha=alpha))
        estimator = GRankClassifier((model, tiny_tokenizer), random_state=0)
        names.add(fit_fingerprint(estimator, texts, Y.tocsr(), 1))
    assert len(names) == 2


# Folders


@pytest.mark.parametrize("kind", SYSTEMS)
def test_round_trip_of_each_system(kind, pair, colours, tmp_path):
    model = fit(pair, colours, kind)
    again = skxmc.load(save(model, tmp_path / "model")).set_params(device="cpu")
    expected = scores(model, colours[0])
    np.testing.assert_array_equal(scores(again, colours[0]), expected)
    np.testing.assert_allclose(
        scores(again.merge_adapters(), colours[0]), expected, atol=1e-4
    )


@pytest.mark.parametrize(
    "options",
    [
        dict(LORA, use_dora=True),
        dict(LORA, use_rslora=True),
        dict(LORA, target_modules=["query", "dense"], rank_pattern={"query": 2}),
        dict(LORA, alpha_pattern={"value": 3.5}, bias="lora_only"),
        dict(LORA, layers_to_transform=[1]),
        dict(LORA, target_modules=r".*1.*\.key"),
    ],
)
def test_round_trip(options, tiny_model, tiny_tokenizer, colours, tmp_path):
    pair = wrap(tiny_model, **options), tiny_tokenizer
    model = fit(pair, colours)
    expected = scores(model, colours[0])
    folder = save(model, tmp_path / "model")
    files = {path.name for path in folder.rglob("*") if path.is_file()}
    assert files == {
        *("config.json", "model.safetensors", "labels.json"),
        *("tokenizer.json", "tokenizer_config.json", "README.md"),
    }
    # The weights of the transformer are a folder of transformers without adapters.
    plain = load_file(folder / "encoder" / "model.safetensors")
    assert not [name for name in plain if "lora" in name or "base_layer" in name]
    assert [n for n in load_file(folder / "model.safetensors") if n.endswith("lora_A")]
    again = skxmc.load(folder).set_params(device="cpu")
    assert again.network_.encoder.has_adapter
    np.testing.assert_array_equal(scores(again, colours[0]), expected)
    again.save_pretrained(tmp_path / "again")
    twin = skxmc.load(tmp_path / "again").set_params(device="cpu")
    np.testing.assert_array_equal(scores(twin, colours[0]), expected)
    twin.merge_adapters().save_pretrained(tmp_path / "merged")
    merged = skxmc.load(tmp_path / "merged").set_params(device="cpu")
    assert not merged.network_.encoder.has_adapter
    np.testing.assert_array_equal(scores(merged, colours[0]), scores(twin, colours[0]))
    np.testing.assert_allclose(scores(merged, colours[0]), expected, atol=1e-4)


@KEPT_TUPLE
@pytest.mark.parametrize(
    "kind, targets, sizes",
    [
        ("Qwen3", ["q_proj", "v_proj"], dict(num_key_value_heads=1, head_dim=8)),
        ("GPT2", ["c_attn"], {}),
        ("T5", ["q", "v"], dict(d_kv=8, d_ff=32, num_layers=2, num_heads=2)),
    ],
)
def test_round_trip_of_other_encoders(
    kind, targets, sizes, tiny_tokenizer, colours, tmp_path
):
    torch.manual_seed(0)
    config = getattr(transformers, f"{kind}Config")(
        vocab_size=len(tiny_tokenizer),
        **dict(hidden_size=16, num_hidden_layers=2, num_attention_heads=2),
        pad_token_id=0,
        **sizes,
    )
    name = "T5EncoderModel" if kind == "T5" else f"{kind}Model"
    base = getattr(transformers, name)(config)
    options = dict(r=2, target_modules=targets, fan_in_fan_out=kind == "GPT2")
    pair = wrap(base, **options), tiny_tokenizer
    model = fit(pair, colours, gradient_checkpointing=True)
    expected = scores(model, colours[0])
    model.save_pretrained(tmp_path / "model")
    again = skxmc.load(tmp_path / "model").set_params(device="cpu")
    np.testing.assert_array_equal(scores(again, colours[0]), expected)
    again.merge_adapters()
    np.testing.assert_allclose(scores(again, colours[0]), expected, atol=1e-4)


@pytest.mark.parametrize(
    "kind, options",
    [
        ("LoHaConfig", dict(r=2, target_modules=["query"])),
        ("LoraConfig", dict(LORA, lora_bias=True, bias="none")),
        ("LoraConfig", dict(LORA, target_modules=["query", "word_embeddings"])),
    ],
)
def test_what_a_folder_cannot_keep(
    kind, options, tiny_model, tiny_tokenizer, colours, tmp_path
):
    model = fit((wrap(tiny_model, kind, **options), tiny_tokenizer), colours)
    with pytest.raises(TypeError, match=r"no plain LoRA.*merge_adapters\(\)"):
        model.save_pretrained(tmp_path / "model")
    model.merge_adapters()
    save(model, tmp_path / "model")
    again = skxmc.load(tmp_path / "model").set_params(device="cpu")
    np.testing.assert_array_equal(scores(again, colours[0]), scores(model, colours[0]))


@pytest.fixture(scope="module")
def saved(tiny_model, tiny_tokenizer, colours, tmp_path_factory):
    folder = tmp_path_factory.mktemp("adapters") / "model"
    pair = wrap(tiny_model, **LORA | dict(target_modules=["query"])), tiny_tokenizer
    return save(fit(pair, colours), folder)


def change_adapters(saved, folder, change):
    shutil.copytree(saved, folder)
    path = folder / "config.json"
    config = json.loads(path.read_text())
    encoder = config["model"]["state"]["network_"]["state"]["encoder"]["state"]
    change(encoder["adapters"]["dict"])
    path.write_text(json.dumps(config))
    sign(folder)
    return folder


QUERY = "encoder.layer.0.attention.self.query"


def rename(about, new, old=QUERY):
    """Give the adapters of a layer another name everywhere."""
    alphas, weights = about["alphas"]["dict"], about["weights"]["dict"]
    alphas[new] = alphas.pop(old)
    for part in ("lora_A", "lora_B"):
        weights[f"{new}.{part}"] = weights.pop(f"{old}.{part}")


def swap(about):
    weights = about["weights"]["dict"]
    a, b = (weights[f"{QUERY}.{part}"] for part in ("lora_A", "lora_B"))
    weights[f"{QUERY}.lora_A"], weights[f"{QUERY}.lora_B"] = b, a


@pytest.mark.parametrize(
    "change",
    [
        lambda about: about.update(dropout=2),
        lambda about: about.update(rslora="yes"),
        lambda about: about.update(megatron_core="os"),
        lambda about: about.pop("alphas"),
        lambda about: about["alphas"]["dict"].clear(),
        lambda about: about["alphas"]["dict"].update({QUERY: "8"}),
        lambda about: about["alphas"]["dict"].update({QUERY: {"float": "inf"}}),
        lambda about: about["alphas"]["dict"].update({"(a+)+$": 1}),
        lambda about: about["weights"]["dict"].pop(f"{QUERY}.lora_A"),
        lambda about: about["weights"]["dict"].update({f"{QUERY}.lora_A": 3}),
        lambda about: rename(about, "encoder.layer.0.attention.self.nothing"),
        lambda about: rename(about, "encoder.layer.0"),
        lambda about: rename(about, "encoder.layer.0.intermediate.dense"),
        swap,
    ],
)
def test_crafted_adapters(change, saved, tmp_path):
    with pytest.raises(ValueError):
        skxmc.load(change_adapters(saved, tmp_path / "model", change))


def test_a_folder_says_that_it_needs_peft(saved, monkeypatch):
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(ImportError, match=r"pip install peft.*merge_adapters\(\)"):
        skxmc.load(saved)


def test_peft_is_not_needed_without_adapters(
    tiny_encoder, colours, tmp_path, monkeypatch
):
    monkeypatch.setitem(sys.modules, "peft", None)
    model = fit(tiny_encoder, colours)
    model.save_pretrained(tmp_path / "model")
    again = skxmc.load(tmp_path / "model").set_params(device="cpu")
    np.testing.assert_array_equal(scores(again, colours[0]), scores(model, colours[0]))


# Refusals


def make_prompts(model):
    config = peft.PromptTuningConfig(
        task_type="FEATURE_EXTRACTION", num_virtual_tokens=3
    )
    return peft.get_peft_model(copy.deepcopy(model), config)


def make_two(model):
    wrapped = wrap(model)
    wrapped.add_adapter("second", peft.LoraConfig(**LORA))
    return wrapped


def make_merged(model):
    wrapped = wrap(model)
    wrapped.merge_adapter()
    return wrapped


@pytest.mark.parametrize(
    "make, message",
    [
        (make_prompts, "PROMPT_TUNING, which puts vectors before a text"),
        (make_two, "adapters default, second, and one can be trained"),
        (make_merged, "merged or switched off"),
        (
            lambda model: wrap(model, **LORA | dict(modules_to_save=["dense"])),
            "made with modules_to_save",
        ),
        (
            lambda model: wrap(
                model, "VeraConfig", r=2, target_modules=["query"], save_projection=True
            ),
            "VERA, whose adapters share",
        ),
    ],
)
def test_what_is_refused(make, message, tiny_model, tiny_tokenizer, colours):
    with pytest.raises(ValueError, match=message):
        fit((make(tiny_model), tiny_tokenizer), colours)


def test_nothing_to_merge(tiny_encoder, colours):
    model = fit(tiny_encoder, colours)
    with pytest.raises(ValueError, match="GRankClassifier has no adapters to merge"):
        model.merge_adapters()
    on_features = GRankClassifier(max_epochs=1).fit(colours[1], colours[1])
    with pytest.raises(ValueError, match="has no adapters to merge"):
        on_features.merge_adapters()


def test_two_encoders_are_merged(pair, colours):
    texts, Y, names = colours
    model = LightXMLClassifier(
        pair,
        **QUICK,
        label_texts=names,
        negatives="static",
        ranking_encoder="own",
        max_leaf_size=3,
    ).fit(texts[:20], Y[:20])
    expected = scores(model, texts)
    model.merge_adapters()
    assert not [m for m in model.network_.modules() if adapters.find_adapter(m)]
    np.testing.assert_allclose(scores(model, texts), expected, atol=1e-4)
