"""Arrays in temporary files."""

import errno
import os

import numpy as np
import pytest
import torch

from skxmc.nn import maps
from skxmc.nn.maps import (
    TemporaryColumn,
    check_room,
    explain_full_disk,
    is_mapped,
    temporary_array,
)


def test_an_array_in_a_file():
    table = temporary_array((3, 4), np.float16, "States", "Read less.")
    assert isinstance(table, np.memmap) and table.shape == (3, 4)
    assert (table == 0).all()
    table[1] = [1, 2, 3, 4]
    assert table.sum() == 10 and is_mapped(table[1:]) and is_mapped(np.asarray(table))


def test_an_array_without_values():
    assert temporary_array((0, 4), np.float16, "States", "").shape == (0, 4)
    assert len(TemporaryColumn(np.int32, "Words", "").finish()) == 0


def test_a_column_grows():
    column = TemporaryColumn(np.int32, "Words", "")
    for part in ([1, 2], [], np.arange(5, dtype=np.int64)[::2]):
        column.append(part)
    assert column.length == 5
    values = column.finish()
    assert values.tolist() == [1, 2, 0, 2, 4] and values.dtype == np.int32
    assert isinstance(values, np.memmap)


def test_too_little_room_is_refused_before(monkeypatch, tmp_path):
    with pytest.raises(OSError, match="States take .* GiB free. Read less. You may"):
        temporary_array((2**40, 2**10), np.float16, "States", "Read less.")
    with pytest.raises(OSError, match=f"Labels take 1024.0 GiB, and {tmp_path} has"):
        check_room(tmp_path, 2**40, "Labels", "Read less.")
    check_room(tmp_path, 10, "Labels", "Read less.")


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="the system lacks it")
def test_room_that_disappears_is_told(monkeypatch):
    def fail(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(maps.os, "posix_fallocate", fail)
    with pytest.raises(OSError, match="States take 0.0 GiB.*Read less"):
        temporary_array((2, 2), np.float16, "States", "Read less.")


FULL = OSError(errno.ENOSPC, "No space left on device")
# What safetensors and tokenizers raise, which write in Rust.
OF_RUST = Exception(f"No space left on device (os error {errno.ENOSPC})")


def write_by_torch():
    with open("/dev/full", "wb", buffering=0) as file:
        torch.save({"table": torch.zeros(10_000)}, file)


@pytest.mark.parametrize("error", [FULL, OF_RUST, "torch"])
def test_a_full_disk_is_explained(error):
    if error == "torch" and not os.path.exists("/dev/full"):
        pytest.skip("the system has no full device")
    with pytest.raises(OSError, match="disk of there is full: a model.*Go.") as caught:
        with explain_full_disk("there", "a model", "Go."):
            if error == "torch":
                write_by_torch()
            raise error
    assert caught.value.errno == errno.ENOSPC


@pytest.mark.parametrize(
    "error", [OSError(errno.EACCES, "no"), ValueError("(os error 2)"), KeyError(28)]
)
def test_other_errors_are_left(error):
    with pytest.raises(type(error)) as caught:
        with explain_full_disk("there", "a model", "Go."):
            raise error
    assert caught.value is error
