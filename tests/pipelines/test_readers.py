"""Every file format gives the same examples, and says what is wrong with a file."""

import bz2
import gzip
import io
import json
import tarfile

import pyarrow as pa
import pyarrow.feather as feather
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.contract import InputError
from pipelines.sources import Origin, Source, Task, TaskKind, read, resolve_task
from pipelines.sources.local import path_digest

TEXTS = ['plain, with a "quote"', "two\nlines", "naïve café 🙂"]
LABELS = ["good", "bad", "good"]
TABLE = pa.table({"text": TEXTS, "label": LABELS, "other": [1, 2, 3]})


def csv_bytes(separator=","):
    rows = ["text,label,other".replace(",", separator)]
    rows += [
        separator.join(['"' + text.replace('"', '""') + '"', label, "1"])
        for text, label in zip(TEXTS, LABELS, strict=True)
    ]
    return ("\n".join(rows) + "\n").encode()


def jsonl_bytes():
    return "\n".join(json.dumps(row) for row in TABLE.to_pylist()).encode()


def parquet_bytes():
    sink = io.BytesIO()
    pq.write_table(TABLE, sink)
    return sink.getvalue()


def arrow_bytes(new_writer):
    sink = io.BytesIO()
    with new_writer(sink, TABLE.schema) as writer:
        writer.write_table(TABLE)
    return sink.getvalue()


def feather_bytes():
    sink = io.BytesIO()
    feather.write_feather(TABLE, sink)
    return sink.getvalue()


FILES = {
    "a.csv": csv_bytes,
    "a.csv.gz": lambda: gzip.compress(csv_bytes()),
    "a.csv.bz2": lambda: bz2.compress(csv_bytes()),
    "a.csv.zst": lambda: bytes(pa.compress(csv_bytes(), "zstd")),
    "a.tsv": lambda: csv_bytes("\t"),
    "with-mark.csv": lambda: b"\xef\xbb\xbf" + csv_bytes(),
    "a.jsonl": jsonl_bytes,
    "a.jsonl.gz": lambda: gzip.compress(jsonl_bytes()),
    "a.json": lambda: json.dumps(TABLE.to_pylist()).encode(),
    "a.parquet": parquet_bytes,
    "a.arrow": lambda: arrow_bytes(pa.ipc.new_file),
    "stream.arrow": lambda: arrow_bytes(pa.ipc.new_stream),
    "a.feather": feather_bytes,
}


@pytest.mark.parametrize("name", FILES)
def test_format_gives_the_same_examples(tmp_path, name):
    (tmp_path / name).write_bytes(FILES[name]())
    task = resolve_task(f"./{name}", tmp_path)
    table = read(task)["all"]
    assert table.schema == pa.schema({"text": pa.string(), "label": pa.string()})
    assert table.to_pydict() == {"text": TEXTS, "label": LABELS}
    assert (task.num_rows, task.num_classes, task.kind) == (3, 2, "classification")


@given(
    st.lists(
        st.tuples(st.text(st.characters(codec="utf-8", exclude_characters="\x00\r"), min_size=1)),
        min_size=1,
        max_size=5,
    )
)
@settings(max_examples=30, deadline=None)
def test_json_lines_give_back_any_text(tmp_path_factory, rows):
    folder = tmp_path_factory.mktemp("any")
    lines = [json.dumps({"text": text, "label": f"class {i}"}) for i, (text,) in enumerate(rows)]
    (folder / "any.jsonl").write_text("\n".join(lines))
    table = read(resolve_task("any.jsonl", folder))["all"]
    assert table["text"].to_pylist() == [text for (text,) in rows]


def test_orange_table_has_three_header_lines(tmp_path):
    (tmp_path / "a.tab").write_text("label\ttext\nd\tstring\nclass\t\n\nyes\tone\nno\ttwo\n")
    table = read(resolve_task("a.tab", tmp_path))["all"]
    assert table.to_pydict() == {"text": ["one", "two"], "label": ["yes", "no"]}


def test_columns_of_dates_and_numbers_stay_text(tmp_path):
    lines = [{"text": f"2024-01-0{i}", "label": i % 2} for i in range(1, 5)]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, lines)))
    table = read(resolve_task("a.jsonl", tmp_path))["all"]
    assert table["text"][0].as_py() == "2024-01-01"
    assert table["label"].to_pylist() == ["1", "0", "1", "0"]


@pytest.mark.parametrize(
    ("values", "kind", "labels"),
    [
        ([1, 2, 1], "classification", ["1", "2", "1"]),
        ([1.0, None, 2.0], "classification", ["1", None, "2"]),
        ([1.0, float("nan"), 2.0], "classification", ["1", None, "2"]),
        ([True, False, True], "classification", ["true", "false", "true"]),
        ([1.5, None, float("inf")], "regression", [1.5, None, None]),
        (["0.5", "1", " 2 "], "regression", [0.5, 1.0, 2.0]),
        (["a", "", " b"], "classification", ["a", None, "b"]),
    ],
)
def test_kind_follows_from_the_label_column(tmp_path, values, kind, labels):
    pq.write_table(pa.table({"text": ["x", "y", "z"], "label": values}), tmp_path / "a.parquet")
    task = resolve_task("a.parquet", tmp_path)
    assert task.kind == kind
    assert task.metric == ("pearson" if kind == "regression" else "accuracy")
    assert read(task)["all"]["label"].to_pylist() == labels


def test_class_numbers_of_the_hub_become_names(tmp_path):
    feature = {"_type": "ClassLabel", "names": ["neg", "pos"]}
    noted = {b"huggingface": json.dumps({"info": {"features": {"label": feature}}}).encode()}
    table = pa.table({"text": ["a", "b", "c"], "label": [1, 0, -1]})
    pq.write_table(table.replace_schema_metadata(noted), tmp_path / "a.parquet")
    labels = read(resolve_task("a.parquet", tmp_path))["all"]["label"].to_pylist()
    assert labels == ["pos", "neg", None]


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.csv", b"text,label\none\n", "cannot read a.csv"),
        ("a.csv", b"", "cannot read a.csv"),
        ("a.csv", b"text,label\ncaf\xe9,x\n", "cannot read a.csv"),
        ("a.csv.gz", b"no gzip", "cannot read a.csv.gz"),
        ("a.jsonl", b'{"text": ', "cannot read a.jsonl"),
        ("a.json", b"[1, 2]", "no JSON object"),
        ("a.parquet", b"no parquet", "cannot read a.parquet"),
        ("a.arrow", b"no arrow", "cannot read a.arrow"),
    ],
)
def test_damaged_file_is_named(tmp_path, name, content, words):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=words):
        resolve_task(f"./{name}", tmp_path)


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl", "a.json", "a.parquet", "a.arrow"])
def test_missing_column_lists_those_there_are(tmp_path, name):
    (tmp_path / name).write_bytes(FILES[name]())
    with pytest.raises(InputError, match="'text', 'label', 'other'") as caught:
        resolve_task({"name": "a", "source": f"./{name}", "label": "lable"}, tmp_path)
    assert (caught.value.key, caught.value.nearest) == ("label", "label")


def own_task(root, reader, pattern, **options):
    source = Source(
        origin=Origin.PATH,
        location=str(root),
        digest=path_digest(root, {"all": pattern}),
        paths={"all": pattern},
    )
    return Task(
        name="own",
        kind=TaskKind.CLASSIFICATION,
        source=source,
        reader=reader,
        options={"text": "text", "label": "label", **options},
        metric="accuracy",
    )


def test_text_folders(tmp_path):
    for label, text in {"sports": b"goal \xa3", "tech": b"chip"}.items():
        (tmp_path / label).mkdir()
        (tmp_path / label / "1.txt").write_bytes(text)
    table = read(own_task(tmp_path, "text-folders", "*/*.txt"))["all"]
    assert table.to_pydict() == {"text": ["goal \ufffd", "chip"], "label": ["sports", "tech"]}


def test_json_lines_named_by_class(tmp_path):
    for name in ("Eye_Care", "Unknown"):
        (tmp_path / f"{name}.jsonl").write_text('{"text": "q"}\n')
    task = own_task(tmp_path, "jsonl-folders", "*.jsonl", skip=["Unknown"])
    assert read(task)["all"].to_pydict() == {"text": ["q"], "label": ["Eye Care"]}


def test_delimited_inside_an_archive(tmp_path):
    content = b'1\tgood\tan unpaired " quote\n'
    with tarfile.open(tmp_path / "a.tar.gz", "w:gz") as archive:
        entry = tarfile.TarInfo("inner/a.txt")
        entry.size = len(content)
        archive.addfile(entry, io.BytesIO(content))
    options = {"separator": "\t", "quoted": False, "member": "inner/a.txt"}
    names = ["id", "label", "text"]
    task = own_task(tmp_path, "archived-delimited", "a.tar.gz", names=names, **options)
    assert read(task)["all"].to_pydict() == {"text": ['an unpaired " quote'], "label": ["good"]}


def test_icd10_chapters(tmp_path):
    code = "<diag><desc>A</desc><diag><desc>B</desc></diag></diag>"
    (tmp_path / "a.xml").write_text(
        f"<t><chapter><desc>Eyes (H00-H59)</desc><section>{code}</section></chapter></t>"
    )
    table = read(own_task(tmp_path, "icd10-xml", "a.xml"))["all"]
    assert table.to_pydict() == {"text": ["A", "B"], "label": ["Eyes", "Eyes"]}


def tsv_task(folder, lines):
    (folder / "a.tsv").write_text("\n".join(["text\tlabel", *lines]) + "\n")
    return resolve_task("./a.tsv", folder)


def test_quotes_that_open_a_text_of_a_tsv_swallow_no_rows(tmp_path):
    """Corpora of texts have them as they are; a table program closes what it opens."""
    texts = [f"row {n}" for n in range(20)]
    texts[3] = texts[12] = '"Never," she said, "again'
    task = tsv_task(tmp_path, [f"{text}\t{n % 2}" for n, text in enumerate(texts)])
    assert read(task)["all"]["text"].to_pylist() == texts


def test_quotes_of_a_tsv_that_hold_lines_or_whole_fields_are_quotes(tmp_path):
    task = tsv_task(tmp_path, ['"two\nlines"\tgood', '"a ""word"""\tbad', "plain\tgood"])
    assert read(task)["all"]["text"].to_pylist() == ["two\nlines", 'a "word"', "plain"]
