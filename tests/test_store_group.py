"""Stores that several processes build together."""

import os
import shutil
import signal

import pytest
from store_examples import contents, make_store, write_shard, write_shards
from test_group_faults import error_of

from skxmc import distributed
from skxmc.nn.group import join
from skxmc.nn.text import tokenize
from skxmc.store import _builder, _processes, build_store, open_store

pytest_plugins = ["group_fixtures"]


@pytest.fixture
def shards(tmp_path, colour_rows):
    """Five files: one more than two processes can share evenly, one of them empty."""
    files = write_shards(tmp_path / "shards", colour_rows, 4)
    return [*files[:2], write_shard(tmp_path / "shards" / "e.jsonl", []), *files[2:]]


@pytest.fixture
def expected(shards, tmp_path, tiny_encoder):
    build_store(shards, tmp_path / "alone", tiny_encoder, 16)
    return contents(tmp_path / "alone")


def count_documents(counts):
    """Have builds append the numbers of the documents that they tokenise to a list."""

    def count(texts, *args):
        counts.append(len(texts))
        return tokenize(texts, *args)

    _builder.tokenize = count


@pytest.mark.parametrize("n", [2, 3])
def test_processes_build_what_one_does(
    n, shards, expected, tiny_encoder, tmp_path, start
):
    def build(rank):
        counts = []
        count_documents(counts)
        # Another place of the same tokenizer is no other tokenizer.
        encoder = shutil.copytree(tiny_encoder, tmp_path / f"encoder-{rank}")
        encoder = tiny_encoder if rank == 0 else str(encoder)
        store = build_store(shards, tmp_path / "store", encoder, 16)
        texts = list(store.X[:2]), store.Y.sum(), store.label_names, store.fingerprint
        again = build_store(shards, tmp_path / "store", encoder, 16)
        return counts, texts, again.fingerprint == store.fingerprint

    found = start(n, build).results()
    documents = [15, 15, 0, 15, 15]  # of each file
    for rank, (counts, same, is_same) in enumerate(found):
        assert counts == [size for size in documents[rank::n] if size]
        assert same == found[0][1] and is_same
    assert contents(tmp_path / "store") == expected
    open_store(tmp_path / "store", verify=True)


def test_known_labels_and_no_texts(shards, tiny_encoder, colours, tmp_path, start):
    options = dict(known_labels=colours[2][:9], unknown="ignore", keep_texts=False)

    def build(rank):
        build_store(shards, tmp_path / "store", tiny_encoder, 16, **options)

    start(2, build).results()
    build_store(shards, tmp_path / "alone", tiny_encoder, 16, **options)
    assert contents(tmp_path / "store") == contents(tmp_path / "alone")


def test_alone_in_a_group(colour_rows, tiny_encoder, tmp_path, start):
    def build(rank):
        with distributed.alone():
            folder = tmp_path / str(rank)
            folder.mkdir()
            return len(make_store(folder, colour_rows[rank:], tiny_encoder).X)

    assert start(2, build).results() == [60, 59]


# --- builds that fail, are killed and are resumed ----------------------------


def test_a_failure_is_raised_by_all_and_mended(
    shards, expected, tiny_encoder, tmp_path, start
):
    content = shards[1].read_bytes()
    times = os.stat(shards[1]).st_atime_ns, os.stat(shards[1]).st_mtime_ns
    shards[1].write_bytes(content[:-20])

    def build(rank):
        arguments = shards, tmp_path / "store", tiny_encoder, 16
        error = error_of(build_store, *arguments)
        if rank == 1:
            shards[1].write_bytes(content)
            os.utime(shards[1], ns=times)
        with join() as group:  # until the file is mended
            group.gather_objects(None)
        counts = []
        count_documents(counts)
        build_store(*arguments)
        return error, counts

    (one, counts), (other, other_counts) = start(2, build).results()
    assert other[0] == "ValueError" and str(shards[1]) in other[1]
    assert one[0] == "RuntimeError" and other[1] in one[1]
    # The first process keeps the file that it has read meanwhile.
    assert counts == [15] and other_counts == [15, 15]
    assert contents(tmp_path / "store") == expected


@pytest.mark.parametrize("n_before, n_after", [(2, 1), (3, 2), (2, 3), (1, 2)])
def test_another_number_of_processes_goes_on(
    n_before, n_after, shards, expected, tiny_encoder, tmp_path, start
):
    folder, arguments = tmp_path / "store", (shards, tmp_path / "store")

    def build_and_die(rank):
        def die_soon(texts, *args):
            if "part-2" in str(reading[-1]):
                os.kill(os.getpid(), signal.SIGKILL)
            return tokenize(texts, *args)

        def note(builder, path, update=None):
            reading.append(path)
            return add_file(builder, path, update)

        reading, add_file = [], _builder.Builder.add_file
        _builder.Builder.add_file, _builder.tokenize = note, die_soon
        build_store(*arguments, tiny_encoder, 16)

    status = start(n_before, build_and_die).wait()
    assert -signal.SIGKILL in status and "hangs" not in status and 0 not in status
    with pytest.raises(ValueError, match="is not finished"):
        open_store(folder)

    def build(rank):
        counts = []
        count_documents(counts)
        build_store(*arguments, tiny_encoder, 16)
        return counts

    counts = [sum(found) for found in start(n_after, build).results()]
    # Files 0 and 1 were finished; of files 3 and 4, a part may have been.
    n_left = {1: 30, 2: 30, 3: 15}[n_before]
    assert n_left <= sum(counts) <= 30
    assert contents(folder) == expected
    open_store(folder, verify=True)


def test_a_part_of_another_store_is_not_used(
    shards, expected, tiny_encoder, tmp_path, start
):
    """A build that has finished no file may be followed by another one."""
    content = shards[1].read_bytes()

    def fail(rank):
        arguments = tmp_path / "store", tiny_encoder, 8
        broken = [shards[0], tmp_path / "broken.jsonl", *shards[2:]]
        return error_of(build_store, broken, *arguments)

    (tmp_path / "broken.jsonl").write_bytes(content[:-20])
    start(2, fail).results()
    part = tmp_path / "store" / _processes.PARTS / "000000" / "build.json"
    assert part.exists()
    build_store(shards, tmp_path / "store", tiny_encoder, 16)
    assert contents(tmp_path / "store") == expected


# --- what is refused ----------------------------------------------------------


def test_different_builds_are_refused_by_all(shards, tiny_encoder, tmp_path, start):
    others = {
        "files": ((shards[1:], tmp_path / "store", tiny_encoder, 16), {}),
        "max_length": ((shards, tmp_path / "store", tiny_encoder, 8), {}),
        "separator": (
            (shards, tmp_path / "store", tiny_encoder, 16),
            {"separator": ";"},
        ),
    }

    def build(rank):
        errors = {}
        for name, (arguments, options) in others.items():
            if rank == 0:
                arguments, options = (shards, *arguments[1:3], 16), {}
            errors[name] = error_of(lambda a=arguments, o=options: build_store(*a, **o))
        # One process alone does not find its files.
        files = [*shards, tmp_path / "missing.jsonl"] if rank else shards
        errors["missing"] = error_of(
            build_store, files, tmp_path / "store", tiny_encoder
        )
        return errors

    one, other = start(2, build).results()
    assert one.pop("missing")[0] == "RuntimeError"
    assert other.pop("missing")[0] == "FileNotFoundError"
    assert one == other
    for name, (kind, message) in one.items():
        assert kind == "ValueError"
        assert f"process 1 differs from process 0 in {name}. Give" in message
    assert not (tmp_path / "store").exists()


def test_a_folder_that_others_do_not_see(shards, tiny_encoder, tmp_path, start):
    def build(rank):
        folder = tmp_path / f"store-{rank}"
        return error_of(build_store, shards, folder, tiny_encoder, 16)

    one, other = start(2, build).results()
    assert one[0] == "ValueError" and "must see the folder" in one[1]
    assert other[0] == "RuntimeError" and "must see the folder" in other[1]
