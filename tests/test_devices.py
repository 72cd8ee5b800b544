"""Devices, precisions and the memory that training needs."""

from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from skxmc.nn import devices
from skxmc.nn.all_labels import AllLabels
from skxmc.nn.bags import FeatureVectors
from skxmc.nn.devices import (
    autocast,
    check_memory,
    choose_device,
    choose_precision,
    one_thread,
    to_device,
)
from skxmc.nn.finite import all_finite
from skxmc.nn.heads import LabelScores


class Network(nn.Linear):
    """100 weights, and 1000 floats a token in a step."""

    n_candidates = 7

    def __init__(self):
        super().__init__(25, 4, bias=False)
        self.encoder = nn.Identity()

    def floats_per_document(self, length):
        return 1000 * length


def test_choose_device(monkeypatch):
    assert choose_device("cpu") == "cpu"
    assert choose_device("cpu:0") == "cpu"
    assert choose_device(torch.device("cpu")) == "cpu"
    assert choose_device("auto") in ("cpu", "cuda")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert choose_device("auto") == "cuda"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_device("auto") == "cpu"


@pytest.mark.parametrize("device", ["gpu", "cuda:99", "", "cpu:x", None])
def test_device_that_is_not_there(device):
    with pytest.raises(ValueError) as caught:
        choose_device(device)
    message = str(caught.value)
    assert message.startswith(f"device={device!r} cannot be used here (")
    assert "torch.cuda.is_available()" in message and "\n" not in message


def test_choose_precision(monkeypatch):
    for precision in ("fp64", "fp32", "bf16"):
        assert choose_precision(precision, "cpu") == precision
        assert choose_precision(precision, "cuda") == precision
    assert choose_precision("fp16", "cuda:1") == "fp16"
    for has, expected in ((True, "bf16"), (False, "fp32")):
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda has=has: has)
        assert choose_precision("auto", "cpu") == expected
        assert choose_precision("auto", "cpu", n_numbers=10_001) == expected
    assert choose_precision("auto", "cpu", n_numbers=10_000) == "fp64"
    assert choose_precision("fp32", "cpu", n_numbers=1) == "fp32"
    for major, expected in ((7, "fp16"), (8, "bf16"), (9, "bf16")):
        monkeypatch.setattr(
            torch.cuda, "get_device_capability", lambda device, major=major: (major, 0)
        )
        assert choose_precision("auto", "cuda") == expected
        assert choose_precision("auto", "cuda", n_numbers=1) == expected


def test_precision_that_does_not_exist():
    with pytest.raises(ValueError, match="precision must be one of .*got 'half'"):
        choose_precision("half", "cpu")
    with pytest.raises(ValueError, match="\"fp16\" needs a CUDA device.*'cpu'"):
        choose_precision("fp16", "cpu")


def test_autocast():
    linear, x = nn.Linear(2, 2), torch.randn(1, 2)
    expected = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
    for precision, dtype in expected.items():
        with autocast("cpu", precision):
            assert linear(x).dtype == dtype
    with autocast("cpu", "fp64"):
        assert linear.double()(x.double()).dtype == torch.float64


def test_nothing_is_moved_on_the_cpu():
    x = torch.ones(2)
    moved = to_device({"x": x, "more": {"x": x}}, "cpu")
    assert moved["x"] is x and moved["more"]["x"] is x


@pytest.mark.parametrize(
    "precision, a_weight, an_activation",
    # In 16 bits weights are cast, and activations are kept in either size.
    [("fp32", 4 * 5, 4), ("fp64", 8 * 5, 8), ("bf16", 4 * 5 + 2, 3)],
)
@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_memory_that_suffices_to_the_byte(
    monkeypatch, device, precision, a_weight, an_activation
):
    # Gradients, two moments, an average and, on a GPU, the weights, otherwise the best
    # ones: 5 sets of 100 numbers.
    # 8 documents of 1000 floats a token.
    need = a_weight * 100 + an_activation * 8 * 1000 * 50
    options = dict(averages=True, keeps_best=True, precision=precision)
    for free in (need, None):
        monkeypatch.setattr(devices, "_free_memory", lambda device, free=free: free)
        check_memory(Network(), 50, 8, device, **options)
    monkeypatch.setattr(devices, "_free_memory", lambda device: need - 1)
    with pytest.raises(MemoryError):
        check_memory(Network(), 50, 8, device, **options)


@pytest.mark.parametrize("device", ["cpu", "cuda"])
@pytest.mark.parametrize("keeps_best", [False, True])
@pytest.mark.parametrize("precision, n_bytes", [("fp32", 4), ("fp64", 8), ("bf16", 4)])
def test_memory_of_frozen_weights(device, keeps_best, precision, n_bytes):
    network = Network()
    options = dict(averages=True, keeps_best=keeps_best, precision=precision)
    before = devices.estimate_memory(network, 50, 8, device, **options)
    network.encoder.frozen = torch.nn.Parameter(torch.zeros(7, 9), requires_grad=False)
    weights, states, step = devices.estimate_memory(network, 50, 8, device, **options)
    # They have a copy on a GPU, and nothing else.
    n_copies = device == "cuda"
    assert weights == before[0] + 63 * n_bytes
    assert states == before[1] + 63 * n_bytes * n_copies
    assert step == before[2]


@pytest.mark.parametrize("dtype, n_bytes", [(torch.float32, 4), (torch.bfloat16, 2)])
@pytest.mark.parametrize("averages", [False, True])
@pytest.mark.parametrize("keeps_best", [False, True])
def test_memory_of_vectors_trained_by_row(
    monkeypatch, dtype, n_bytes, averages, keeps_best
):
    network = Network()
    network.ranker = LabelScores(torch.zeros(99, 3, dtype=dtype), row_wise=True)
    # No gradient of all; an average keeps what moved, in float32, and becomes a mean.
    need = 4 * 100 * (3 + averages + keeps_best) + 4 * 8 * 1000 * 50
    need += 300 * (n_bytes * (2 + averages + keeps_best) + 4 * averages)
    options = dict(averages=averages, keeps_best=keeps_best)
    monkeypatch.setattr(devices, "_free_memory", lambda device: need)
    check_memory(network, 50, 8, "cpu", **options)
    monkeypatch.setattr(devices, "_free_memory", lambda device: need - 1)
    with pytest.raises(MemoryError):
        check_memory(network, 50, 8, "cpu", **options)


def test_memory_of_a_step_by_row_on_a_gpu(monkeypatch):
    network = Network()
    network.ranker = LabelScores(torch.zeros(99, 3), row_wise=True)
    need = 4 * (4 * 100 + 3 * 300) + 4 * 8 * 1000 * 50
    # 16 documents of 7 candidates: six numbers each of 3 dimensions, and the documents.
    need += 4 * 16 * 7 * (6 * 3 + 16)
    monkeypatch.setattr(devices, "_free_memory", lambda device: need)
    check_memory(network, 50, 8, "cuda", accumulate=2)
    monkeypatch.setattr(devices, "_free_memory", lambda device: need - 1)
    with pytest.raises(MemoryError):
        check_memory(network, 50, 8, "cuda", accumulate=2)


def test_memory_of_a_step_by_row_on_a_gpu_counts_features(monkeypatch):
    network = Network()
    network.encoder = FeatureVectors(torch.zeros(199, 5))
    network.ranker = LabelScores(torch.zeros(99, 3), row_wise=True)
    need = 4 * (4 * 100 + 3 * 1000 + 3 * 300) + 4 * 8 * 1000 * 50
    # A document touches as many rows as it has features, 50, and 7 candidates.
    need += 4 * 16 * 50 * (6 * 5 + 16) + 4 * 16 * 7 * (6 * 3 + 16)
    monkeypatch.setattr(devices, "_free_memory", lambda device: need)
    check_memory(network, 50, 8, "cuda", accumulate=2)
    monkeypatch.setattr(devices, "_free_memory", lambda device: need - 1)
    with pytest.raises(MemoryError):
        check_memory(network, 50, 8, "cuda", accumulate=2)


@pytest.mark.parametrize("trained_by, n_moments", [("rowwise", 0), ("adamw", 2)])
@pytest.mark.parametrize("keeps_best", [False, True])
@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_memory_of_one_of_several_processes(
    monkeypatch, device, keeps_best, trained_by, n_moments
):
    network = Network()
    network.head = AllLabels(torch.zeros(39, 10), trained_by=trained_by)
    monkeypatch.setattr(AllLabels, "n_scores_held", 30)
    group = SimpleNamespace(size=4, n_here=2)
    monkeypatch.setattr(devices, "current_group", lambda: group)
    options = dict(averages=True, keeps_best=keeps_best)
    on_cpu = device == "cpu"
    # A gradient, two moments, an average, what gradients are added up in, and a copy.
    need = 4 * 100 * (5 + (keeps_best if on_cpu else 1))
    # Of the 40 rows, a process trains 10: they have an average and moments, and are
    # there twice when all rows come together. On a GPU, so are all rows.
    part = 4 * 10 * 10
    need += part * (1 + n_moments + 2 + (keeps_best and on_cpu))
    need += 4 * 10 * (trained_by == "rowwise") + (not on_cpu) * 4 * part
    # It reads 2 of 8 documents, and scores them all.
    need += 4 * 2 * 1000 * 50 + 4 * 4 * 6 * 30
    if not on_cpu:  # as alone, an upper bound
        need += 4 * 8 * 7 * (6 * 10 + 8)
    found = devices.estimate_memory(network, 50, 8, device, n_processes=4, **options)
    assert sum(found[1:]) == need
    # The two processes of this machine share its main memory, and have a GPU each.
    free = need * (1 + on_cpu)
    monkeypatch.setattr(devices, "_free_memory", lambda device: free)
    check_memory(network, 50, 8, device, **options)
    monkeypatch.setattr(devices, "_free_memory", lambda device: free - 1)
    together = "for 2 processes together" if on_cpu else "GiB more on cuda, and"
    with pytest.raises(MemoryError, match=together):
        check_memory(network, 50, 8, device, **options)


def test_memory_that_does_not_suffice(monkeypatch):
    monkeypatch.setattr(devices, "_free_memory", lambda device: 3 * 2**29)
    network = Network()
    with pytest.raises(MemoryError) as caught:
        check_memory(network, 2**14, 2**6, "cuda", advice="Read less.")
    message = str(caught.value)
    # 64 documents of 16384 tokens of 1000 floats: 3.9 GiB.
    assert "3.9 GiB more on cuda, and 1.5 GiB are free" in message
    assert "a step of 64 documents of up to 16384 tokens" in message
    assert message.endswith("tokens. Read less.")


def test_free_memory_of_this_machine():
    free = devices._free_memory("cpu")
    assert free is None or 2**20 < free < 2**50


MEMINFO = "MemTotal:       8000 kB\nMemAvailable:   4000 kB\nHugePages_Total:    0\n"


@pytest.mark.parametrize(
    "files, expected",
    [
        ({}, 4000 * 1024),
        ({"max": "max\n", "current": "5\n", "stat": ""}, 4000 * 1024),
        ({"max": "1000000\n", "current": "300000\n", "stat": "anon 1\n"}, 700_000),
        # Files that were read lately give way.
        (
            {"max": "1000000", "current": "900000", "stat": "inactive_file 500000\n"},
            600_000,
        ),
    ],
)
def test_free_memory_in_a_container(monkeypatch, files, expected):
    files = {f"/sys/fs/cgroup/memory.{name}": text for name, text in files.items()}
    files["/proc/meminfo"] = MEMINFO

    def read(path):
        if path not in files:
            raise FileNotFoundError(path)
        return files[path]

    monkeypatch.setattr(devices, "_read", read)
    assert devices._free_memory("cpu") == expected


def test_free_memory_counts_what_torch_holds(monkeypatch):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (100, 1000))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 600)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 250)
    assert devices._free_memory("cuda:0") == 450


def test_one_thread_inside_and_as_many_as_before_outside():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with one_thread(False):
            assert torch.get_num_threads() == 2
        with one_thread(), one_thread():
            assert torch.get_num_threads() == 1
            with ThreadPoolExecutor(1) as pool:
                assert pool.submit(torch.get_num_threads).result() == 2
        assert torch.get_num_threads() == 2
        with pytest.raises(KeyError), one_thread():
            raise KeyError
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_all_finite(dtype):
    largest = torch.finfo(dtype).max
    numbers = torch.linspace(-1, 1, 35).to(dtype).view(5, 7)
    numbers[0, 0], numbers[4, 6] = largest, -largest
    assert all_finite(numbers) and all_finite(numbers[:0]) and all_finite(numbers.T)
    assert all_finite(nn.Parameter(numbers))
    for value in (torch.nan, torch.inf, -torch.inf):
        for place in range(35):
            changed = numbers.clone()
            changed.view(-1)[place] = value
            assert not all_finite(changed) and not all_finite(changed.T)
