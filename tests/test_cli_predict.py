"""``skxmc predict``: rows of any source, streams, broken lines."""

import datetime
import json
import math
import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from command_line import (
    QUICK,
    SKXMC,
    answers,
    json_lines,
    refused,
    run,
    train,
    write_table,
)


def test_predict(tmp_path, colour_model, colour_classifier, colour_rows):
    given = [{"id": i, "more": {"é": [None, 1.5]}, **colour_rows[i]} for i in range(60)]
    for row in given:
        del row["labels"]
    path = tmp_path / "texts.jsonl"
    path.write_text(json_lines(*given), encoding="utf-8")
    names, scores = colour_classifier.predict_topk(
        [row["text"] for row in colour_rows], 5, return_names=True
    )
    result = run("predict", colour_model, path)
    assert result.stderr == ""
    for found, row, labels, values in zip(
        answers(result), given, names, scores, strict=True
    ):
        assert found.pop("predicted") == list(labels)
        given_scores = found.pop("predicted_scores")
        np.testing.assert_allclose(given_scores, values, atol=6e-7, rtol=0)
        assert found == row and list(found) == list(row)
    for source in ([], ["-"]):
        read = run(
            "predict", colour_model, *source, input=path.read_text(encoding="utf-8")
        )
        assert read.stdout == result.stdout
    for batch in (1, 7):
        parts = answers(run("predict", colour_model, path, "--batch", batch))
        assert [row["id"] for row in parts] == list(range(60))
        assert [row["predicted"] for row in parts] == names.tolist()


@pytest.mark.parametrize("suffix", ["csv", "tsv", "parquet", "jsonl"])
def test_predict_reads_tables(tmp_path, colour_model, colour_rows, suffix):
    some = [dict(colour_rows[i], labels=["old"]) for i in range(7)]
    path = write_table(tmp_path / f"new.{suffix}", some)
    found = answers(run("predict", colour_model, path, "--batch", 3))
    as_lines = answers(
        run("predict", colour_model, "--batch", 3, input=json_lines(*some))
    )
    for row, expected in zip(found, as_lines, strict=True):
        assert row.pop("labels") in ("old", ["old"])
        expected.pop("labels")
        assert row == expected


def test_quotes_that_are_part_of_texts(tmp_path, colour_rows):
    lines = [f'"{row["text"]} old\t{"|".join(row["labels"])}' for row in colour_rows]
    path = tmp_path / "tickets.tsv"
    path.write_text("\n".join(["text\tlabels", *lines]))
    for command in (
        ("train", path, tmp_path / "model", *QUICK),
        ("evaluate", tmp_path / "model", path),
        ("predict", tmp_path / "model", path),
    ):
        if command[0] != "train":
            refused("read the table with quoted=False (--unquoted)", *command)
        found = answers(run(*command, "--unquoted"))
        assert len(found) == 60 or found[0]["documents"] == 60
    assert [row["text"] for row in found] == [line.split("\t")[0] for line in lines]


def test_predict_keeps_fields_of_one_name(tmp_path, colour_model):
    path = tmp_path / "new.csv"
    path.write_text("id,text,tag,tag\n1,fox,a,b\n2,cat,,c\n")
    found = answers(run("predict", colour_model, path))
    assert [row["tag"] for row in found] == [["a", "b"], ["", "c"]]
    lines = '{"text": "fox", "more": {"x": 1, "x": [2]}, "tag": 1, "tag": null}\n'
    (row,) = answers(run("predict", colour_model, input=lines))
    assert row["tag"] == [1, None] and row["more"] == {"x": [1, [2]]}
    message = "Line 2 has 'text' 2 times."
    twice = '{"text": "fox", "text": "cat"}\n'
    refused(message, "predict", colour_model, input=lines + twice, answered=1)


def test_predict_answers_a_line_for_each_line_of_a_single_column(
    tmp_path, colour_model
):
    path = tmp_path / "new.csv"
    path.write_text("text\nfox\n\ncat\n\n")
    found = answers(run("predict", colour_model, path, "--unquoted"))
    assert [row["text"] for row in found] == ["fox", "", "cat"]


def test_predict_keeps_the_dates_of_a_table(tmp_path, colour_model):
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "new.parquet"
    days = [datetime.date(2026, 1, day) for day in (1, 2)]
    parquet.write_table(pyarrow.table({"text": ["fox", "cat"], "day": days}), path)
    found = answers(run("predict", colour_model, path))
    assert [row["day"] for row in found] == ["2026-01-01", "2026-01-02"]


def test_predict_writes_null_for_what_json_lacks(tmp_path, colour_model):
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "new.parquet"
    more = [{"x": [1.5, math.nan]}, {"x": [-math.inf]}]
    columns = {"text": ["fox", "石油"], "price": [math.nan, 2.5], "more": more}
    parquet.write_table(pyarrow.table(columns), path)
    lines = '{"text": "fox", "price": NaN}\n{"text": "cat", "price": 1e999}\n'
    of_table = run("predict", colour_model, path)
    for result in (of_table, run("predict", colour_model, input=lines)):
        for word in ("NaN", "Infinity"):
            assert word not in result.stdout
        assert answers(result)[0]["price"] is None
    found = answers(of_table)
    assert found[1]["price"] == 2.5 and found[1]["text"] == "石油"
    assert [row["more"] for row in found] == [{"x": [1.5, None]}, {"x": [None]}]


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_predict_names_what_a_table_lacks(tmp_path, colour_model, suffix):
    path = write_table(tmp_path / f"new.{suffix}", [dict(text="t", labels=["a"])])
    message = f"{path} has no column 'body'; there are text, labels."
    refused(message, "predict", colour_model, path, "--text", "body")


def test_predict_other_field(colour_model, colour_rows):
    content = json_lines({"body": colour_rows[0]["text"], "text": 3})
    (found,) = answers(run("predict", colour_model, "--text", "body", input=content))
    (same,) = answers(run("predict", colour_model, input=json_lines(colour_rows[0])))
    assert found["predicted"] == same["predicted"] and found["text"] == 3


@pytest.mark.parametrize("k", [1, 12, 100])
def test_predict_k(colour_model, colours, k):
    content = json_lines({"text": "red fox"}, {"text": ""})
    for row in answers(run("predict", colour_model, "-k", k, input=content)):
        labels, scores = row["predicted"], row["predicted_scores"]
        assert len(labels) == len(set(labels)) == len(scores) == min(k, 12)
        assert set(labels) <= set(colours[2])
        assert scores == sorted(scores, reverse=True)


def test_predict_nothing(colour_model):
    for content in ("", "\n \n"):
        assert run("predict", colour_model, input=content).stdout == ""


@pytest.mark.parametrize(
    "line, message",
    [
        ("fox", "Line 4 is not valid JSON: "),
        ('{"text": "fox"', "Line 4 is not valid JSON: "),
        ('["fox"]', 'Line 4 must be a JSON object, got ["fox"].'),
        ("{}", "Line 4 has no text in its field 'text'."),
        ('{"body": "fox"}', "Line 4 has no text in its field 'text'."),
        ('{"text": null}', "Line 4 has no text in its field 'text'."),
        ('{"text": 4}', "Line 4 has no text in its field 'text'."),
        ('{"text": ["fox"]}', "Line 4 has no text in its field 'text'."),
    ],
)
def test_predict_names_a_broken_line(colour_model, line, message):
    content = '{"text": "fox"}\n\n{"text": "cat"}\n' + line + "\n"
    for batch in (1, 2, 3):  # lines before it are answered
        args = ("predict", colour_model, "--batch", batch)
        refused(message, *args, input=content, answered=2)


def test_predict_keeps_the_labels_of_the_input(colour_model, colour_rows):
    given = [dict(row, scores="s", predicted=["old"]) for row in colour_rows[:3]]
    found = answers(run("predict", colour_model, input=json_lines(*given)))
    for row, answer in zip(given, found, strict=True):
        assert answer["labels"] == row["labels"] and answer["scores"] == "s"
        assert "old" not in answer["predicted"] and len(answer["predicted"]) == 5


def test_predict_takes_byte_order_marks(tmp_path, colour_model):
    lines = json_lines({"text": "fox"}, {"text": "tree"})
    # Windows writes one at the start, and joined files have them within.
    for content in ("\ufeff" + lines, "\ufeff" + lines.replace("\n", "\n\ufeff")):
        path = tmp_path / "texts.jsonl"
        path.write_text(content, encoding="utf-8")
        for source, input in ((["-"], content), ([path], None)):
            found = answers(run("predict", colour_model, *source, input=input))
            assert [row["text"] for row in found] == ["fox", "tree"]


def test_predict_names_a_line_that_is_no_utf8(tmp_path, colour_model):
    content = json_lines({"text": "fox"}).encode() * 2 + b"\n"
    content += '{"text": "é"}\n'.encode("latin-1") + b'{"text": "fox"}\n'
    path = tmp_path / "texts.jsonl"
    path.write_bytes(content)
    for source, input in ((["-"], content), ([path], None)):
        args = ("predict", colour_model, *source, "--batch", 1)
        refused("Line 4 is not UTF-8 ('utf-8' codec", *args, input=input, answered=2)
    refused(
        "Line 1 is not UTF-8",
        "predict",
        colour_model,
        input=content.decode("latin-1").encode("utf-16"),
    )


def test_predict_from_brackets(colour_model):
    refused("Line 1", "predict", colour_model, input="[" * 100_000)


def test_predict_keeps_what_is_not_ascii(tmp_path, colour_rows):
    new = {"red": "größe", "fox": "石油 🦊", "dog": "a \u2028 b"}
    named = [
        dict(row, labels=[new.get(name, name) for name in row["labels"]])
        for row in colour_rows
    ]
    train(write_table(tmp_path / "data.jsonl", named), tmp_path / "model")
    content = json_lines({"text": "größer 石油 \u2028 \x85", "ключ": "🦊"})
    result = run("predict", tmp_path / "model", "-k", 12, input=content)
    (found,) = [json.loads(line) for line in result.stdout.rstrip("\n").split("\n")]
    assert found["text"] == "größer 石油 \u2028 \x85" and found["ключ"] == "🦊"
    assert set(new.values()) <= set(found["predicted"])
    assert "石油 🦊" in result.stdout and "ключ" in result.stdout


def test_predict_writes_utf8(colour_model):
    content = json_lines({"text": "石油"}).encode()
    result = run("predict", colour_model, input=content, charset="latin-1")
    assert json.loads(result.stdout_bytes.decode())["text"] == "石油"


def test_predict_keeps_half_a_character(colour_model):
    # What a cut through an emoji leaves: JSON can hold it, escaped.
    content = '{"text": "fox \\ud83d"}\n{"text": "fox"}\n'
    found = answers(run("predict", colour_model, input=content))
    assert [row["text"] for row in found] == ["fox \ud83d", "fox"]


N_STREAMED = 30_000


def peak_memory(pid):
    """The most memory that a process has used so far, in MB; None elsewhere."""
    status = Path(f"/proc/{pid}/status")
    if not status.exists():
        return None
    lines = status.read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if "VmHWM" in line) / 1024


@pytest.fixture(scope="module")
def stream(colour_model):
    """What a process does that is fed batch by batch, and stopped like by `head`."""
    process = subprocess.Popen(
        [*SKXMC, "predict", str(colour_model), "--batch", "100"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    watch = threading.Timer(120, process.kill)
    watch.start()

    def feed(start, stop):
        for i in range(start, stop):
            row = {"id": i, "text": "fox tree", "more": "x" * 1000}
            process.stdin.write(json_lines(row))
        process.stdin.flush()

    def read(n):
        return [json.loads(process.stdout.readline())["id"] for _ in range(n)]

    try:
        feed(0, 100)
        ids = read(100)  # before anything follows
        memory = [peak_memory(process.pid)]
        feeder = threading.Thread(target=feed, args=(100, N_STREAMED))
        feeder.start()
        ids += read(N_STREAMED - 100)
        feeder.join()
        memory.append(peak_memory(process.pid))
        process.stdout.close()
        feed(0, 100)
        errors = process.stderr.read()
        code = process.wait()
    finally:
        watch.cancel()
        process.kill()
        process.stderr.close()
    return dict(ids=ids, memory=memory, errors=errors, code=code)


def test_predict_streams(stream):
    assert stream["ids"] == list(range(N_STREAMED))


def test_predict_needs_no_more_memory_for_more_lines(stream):
    before, after = stream["memory"]
    if before is None:
        pytest.skip("needs /proc")
    # All answers together would take twice that.
    assert after - before < 25


def test_predict_into_a_closed_pipe(stream):
    assert stream["errors"] == "" and stream["code"] == 1


MEASURED = """
import sys
from pathlib import Path
from skxmc.cli import main
_, model, *tables = sys.argv
for table in tables:
    main(["predict", model, table, "--batch", "100"], standalone_mode=False)
    lines = Path("/proc/self/status").read_text().splitlines()
    peak = next(line.split()[1] for line in lines if line.startswith("VmHWM"))
    print(int(peak) / 1024, file=sys.stderr)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc")
@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_predict_needs_no_more_memory_for_more_rows(tmp_path, colour_model, suffix):
    # 50 MB that do not shrink: random texts, in Parquet in one row group.
    rows = [dict(text="fox", labels=[os.urandom(1000).hex()]) for _ in range(25_000)]
    tables = [write_table(tmp_path / f"{n}.{suffix}", rows[:n]) for n in (500, 25_000)]
    done = subprocess.run(
        [sys.executable, "-c", MEASURED, str(colour_model), *map(str, tables)],
        capture_output=True,
        timeout=120,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    before, after = map(float, done.stderr.split())
    assert len(done.stdout.splitlines()) == 25_500
    assert after - before < 25
