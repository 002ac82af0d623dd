"""The embedder that runs in this process: the bundled model, and directories of the user."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import shutil
import subprocess
import sys
import threading
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import anyio
import numpy as np
import pytest
from pydantic import ValidationError

from memos.errors import ConfigError, ModelError
from memos.models.onnx import OnnxEmbedder, OnnxEncoder, OnnxSettings, backend, card
from memos.models.onnx.bundle import BUNDLED
from memos.models.onnx.driver import driver_errors
from memos.models.onnx.encoder import Card, Ids
from memos.ports.backend import Role
from memos.ports.models import EmbedRole, Vectors

GOLDEN = Path(__file__).parent / "data" / "e5small_golden.json"


@pytest.fixture(scope="module")
def bundled() -> Iterator[OnnxEncoder]:
    encoder = OnnxEncoder(card(OnnxSettings()), threads=2)
    yield encoder
    encoder.close()


# The bundled model


def test_bundled_vectors_agree_with_the_source_of_the_weights(bundled: OnnxEncoder) -> None:
    for row in json.loads(GOLDEN.read_text(encoding="utf-8")):
        (vector,) = bundled.encode([row["text"]], row["role"])
        golden = np.frombuffer(base64.b64decode(row["vector"]), "<f2").astype(np.float32)
        assert vector @ golden >= 0.995, (row["role"], row["text"][:40])


@pytest.mark.parametrize(
    ("query", "near", "far"),
    [
        ("how is the weather", "今天天气怎么样", "我的银行账户余额是多少"),
        ("今天天气怎么样", "what is the weather like today?", "the cat sleeps on the sofa"),
        ("猫はどこにいますか", "the cat is under the table", "interest rates were raised again"),
        ("где находится больница", "the hospital is in the main street", "I like jazz music"),
        ("أين المستشفى", "the hospital is next to the school", "the film was boring"),
    ],
)
def test_bundled_meaning_crosses_languages(
    bundled: OnnxEncoder, query: str, near: str, far: str
) -> None:
    (asked,) = bundled.encode([query], "query")
    nearer, farther = bundled.encode([near, far], "passage") @ asked
    assert nearer > farther + 0.02


def test_bundled_roles_use_their_prefixes(bundled: OnnxEncoder) -> None:
    plain = OnnxEncoder(card(OnnxSettings(query_prefix="", passage_prefix="")), threads=1)
    for role in ("query", "passage"):
        expected = plain.encode([f"{role}: tea"], role)
        assert np.array_equal(bundled.encode(["tea"], role), expected)


def test_bundled_vector_is_the_same_alone_and_in_company(bundled: OnnxEncoder) -> None:
    texts = ["a", "My sister opened a bakery. " * 30, "短い", "word " * 900, "a"]
    together = bundled.encode(texts, "passage")
    alone = np.concatenate([bundled.encode([text], "passage") for text in texts])
    assert np.array_equal(together, alone)


@pytest.mark.parametrize("text", ["", " \t\n", "\ud800", "\udfff x", "\0", "a\0b", "\u200b"])
def test_bundled_every_string_has_a_unit_vector(bundled: OnnxEncoder, text: str) -> None:
    vector = bundled.encode([text], "query")
    assert vector.dtype == np.float32
    assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("two words", " two\t\r\n\n  words  "),
        ("a b", "a\0b"),
        ("ABC 123", "ＡＢＣ　１２３"),
        ("café", "cafe\u0301"),
    ],
)
def test_bundled_equal_text_in_other_bytes_is_equal(
    bundled: OnnxEncoder, one: str, other: str
) -> None:
    first, second = bundled.encode([one, other], "passage")
    assert np.array_equal(first, second)


def test_bundled_special_tokens_in_a_text_are_plain_text(bundled: OnnxEncoder) -> None:
    model = bundled.card.load()
    assert not {0, 1, 2, 250001} & set(model.tokens("<s> a </s> <pad> <mask>"))


def test_artifact_is_what_its_manifest_says_and_small_enough() -> None:
    manifest = json.loads((BUNDLED / "manifest.json").read_text(encoding="utf-8"))
    files = {path.name: path.read_bytes() for path in BUNDLED.iterdir()}
    assert files.keys() == {"manifest.json", *manifest["files"]}
    for name, facts in manifest["files"].items():
        assert hashlib.sha256(files[name]).hexdigest() == facts["sha256"], name
    assert sum(map(len, files.values())) <= 80_000_000
    assert manifest["licence"] == "MIT"
    assert b"MIT License" in files["LICENSE"]
    assert manifest["source"]["sha256"].encode() in files["NOTICE.md"]


def test_import_is_light_and_use_takes_little_memory() -> None:
    code = """
import resource, sys
from pathlib import Path
from memos.models.onnx import OnnxEncoder, OnnxSettings, card
encoder = OnnxEncoder(card(OnnxSettings()))
heavy = {"onnxruntime", "sentencepiece", "tokenizers"} & set(sys.modules)
assert not heavy, heavy
encoder.encode(["a short query", "word " * 2000], "query")
status = Path("/proc/self/status")
if status.exists():  # the other figure is inherited from the parent on Linux
    print(next(line.split()[1] for line in status.open() if line.startswith("VmHWM")))
else:
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert float(done.stdout) < 300_000


# Broken artifacts


@pytest.fixture
def artifact(tmp_path: Path) -> Path:
    for path in BUNDLED.iterdir():
        (tmp_path / path.name).symlink_to(path)
    return tmp_path


def test_artifact_in_another_directory_works(artifact: Path, bundled: OnnxEncoder) -> None:
    found = card(OnnxSettings(path=artifact))
    assert found.name == bundled.card.name
    encoder = OnnxEncoder(found, threads=1)
    assert np.array_equal(encoder.encode(["tea"], "query"), bundled.encode(["tea"], "query"))


@pytest.mark.parametrize("name", ["manifest.json", "encoder.onnx", "tokenizer.model", "words.q4"])
def test_missing_file_is_named(artifact: Path, name: str) -> None:
    (artifact / name).unlink()
    # Without a manifest, the directory is read as an export and lacks its files.
    with pytest.raises(ConfigError, match="model.onnx" if name == "manifest.json" else name):
        card(OnnxSettings(path=artifact))


@pytest.mark.parametrize("name", ["manifest.json", "encoder.onnx", "tokenizer.model", "words.q4"])
def test_truncated_file_is_named(artifact: Path, name: str) -> None:
    content = (artifact / name).read_bytes()
    (artifact / name).unlink()
    (artifact / name).write_bytes(content[:-3])
    with pytest.raises(ConfigError, match=name) as caught:
        card(OnnxSettings(path=artifact))
    assert caught.value.code == "model_unusable"


@pytest.mark.parametrize("name", ["encoder.onnx", "tokenizer.model", "words.q4"])
def test_altered_file_is_named_on_first_use(artifact: Path, name: str) -> None:
    content = bytearray((artifact / name).read_bytes())
    content[len(content) // 2] ^= 1
    (artifact / name).unlink()
    (artifact / name).write_bytes(content)
    encoder = OnnxEncoder(card(OnnxSettings(path=artifact)))
    with pytest.raises(ConfigError, match=f"{name}.*sha256"):
        encoder.encode(["tea"], "query")


# The encoder and the adapter, over a model that is easy to predict


class Letters:
    """Counts letters: a token is a code point, a vector the histogram of a-d of a window."""

    window = 10
    rows = 4

    def __init__(self) -> None:
        self.runs: list[int] = []
        self.before_run: Callable[[], object] = lambda: None

    def tokens(self, text: str) -> Ids:
        return [ord(letter) for letter in text]

    def pooled(self, windows: Sequence[Ids]) -> Vectors:
        self.before_run()
        self.runs.append(len(windows))
        rows = [[list(window).count(ord(c)) for c in "abcd"] + [1] for window in windows]
        return np.array(rows, np.float32) / np.array(
            [[max(len(w), 1)] for w in windows], np.float32
        )


def letters_card(model: Letters, prefix: str = "") -> Card:
    return Card("letters", 5, {"query": prefix, "passage": prefix}, lambda: model)


def letters_embedder(model: Letters, *, cache_size: int = 8) -> OnnxEmbedder:
    return OnnxEmbedder(OnnxEncoder(letters_card(model), threads=2), cache_size=cache_size)


def test_long_text_is_the_mean_of_its_windows_weighted_by_tokens() -> None:
    encoder = OnnxEncoder(letters_card(Letters()), threads=1)
    (vector,) = encoder.encode(["a" * 10 + "b" * 10 + "c" * 5], "query")
    # Each window adds its letters, and 1 for itself.
    expected = np.array([10, 10, 5, 0, 3])
    assert vector == pytest.approx(expected / np.linalg.norm(expected), abs=1e-6)


def test_order_is_kept_although_batches_go_by_length() -> None:
    texts = ["a" * (1 + n % 9) + "bcd"[n % 3] for n in range(700)]
    encoder = OnnxEncoder(letters_card(Letters()), threads=2)
    alone = np.concatenate([encoder.encode([text], "query") for text in texts])
    assert np.allclose(encoder.encode(texts, "query"), alone, atol=1e-6)


def test_runs_stay_within_rows_and_tokens() -> None:
    model = Letters()
    OnnxEncoder(letters_card(model), threads=1).encode(["a" * 5] * 9, "query")
    assert model.runs == [4, 4, 1]
    model = Letters()
    OnnxEncoder(letters_card(model), threads=1, batch_tokens=10).encode(["a" * 5] * 9, "query")
    assert model.runs == [2, 2, 2, 2, 1]


def test_ten_megabytes_are_embedded_in_bounded_memory() -> None:
    model = Letters()
    model.window = 5_000
    encoder = OnnxEncoder(letters_card(model), threads=1)
    text = "abcd" * 2_500_000
    tracemalloc.start()
    (vector,) = encoder.encode([text], "passage")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert vector[:4] == pytest.approx([0.5] * 4, abs=1e-3)
    assert peak < 3 * len(text)


def test_long_text_is_cut_at_white_space() -> None:
    model = Letters()
    model.window = 10**9
    seen: list[str] = []

    class Words(Letters):
        def tokens(self, text: str) -> Ids:
            seen.extend(text.split())
            return super().tokens(text)

    OnnxEncoder(letters_card(Words()), threads=1).encode(["abcd efg\n" * 10_000], "query")
    assert set(seen) == {"abcd", "efg"}


def test_model_without_a_direction_is_an_error() -> None:
    class Broken(Letters):
        def pooled(self, windows: Sequence[Ids]) -> Vectors:
            return np.full((len(windows), 5), np.nan, np.float32)

    with pytest.raises(ModelError, match="letters"):
        OnnxEncoder(letters_card(Broken()), threads=1).encode(["a"], "query")


def test_model_is_loaded_once_by_many_threads() -> None:
    loads: list[int] = []
    start, meeting = threading.Barrier(8), threading.Barrier(2)

    def load() -> Letters:
        loads.append(1)
        # Stays inside until a second thread comes in too, which none may.
        with contextlib.suppress(threading.BrokenBarrierError):
            meeting.wait(0.2)
        return Letters()

    encoder = OnnxEncoder(Card("letters", 5, {"query": "", "passage": ""}, load), threads=1)

    def use(_: int) -> Vectors:
        start.wait(10)
        return encoder.encode(["ab"], "query")

    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(use, range(8)))
    assert loads == [1]
    assert all(np.array_equal(result, results[0]) for result in results)


@pytest.mark.anyio
async def test_known_queries_are_answered_without_leaving_the_loop() -> None:
    model = Letters()
    embedder = letters_embedder(model)
    first = await embedder.embed(["a", "b", "a"], "query")
    assert sum(model.runs) == 2, "equal texts are computed once"
    again = embedder.embed(["b", "a"], "query")
    with pytest.raises(StopIteration) as finished:
        again.send(None)
    assert np.array_equal(finished.value.value, first[[1, 0]])


@pytest.mark.anyio
async def test_cache_holds_queries_only_and_drops_the_least_used() -> None:
    model = Letters()
    embedder = letters_embedder(model, cache_size=2)
    await embedder.embed(["a"], "passage")
    await embedder.embed(["a", "b"], "query")
    assert sum(model.runs) == 3
    await embedder.embed(["a"], "query")
    await embedder.embed(["c"], "query")
    assert sum(model.runs) == 4
    await embedder.embed(["a"], "query")
    assert sum(model.runs) == 4
    await embedder.embed(["b"], "query")
    assert sum(model.runs) == 5


@pytest.mark.anyio
async def test_very_long_queries_are_not_kept() -> None:
    model = Letters()
    embedder = letters_embedder(model)
    for _ in range(2):
        await embedder.embed(["a" * 5_000], "query")
    assert sum(model.runs) == 2 * 500


@pytest.mark.anyio
async def test_cached_vectors_cannot_be_changed_by_a_caller() -> None:
    embedder = letters_embedder(Letters())
    first = await embedder.embed(["ab"], "query")
    kept = first.copy()
    first[:] = 7
    assert np.array_equal(await embedder.embed(["ab"], "query"), kept)


@pytest.mark.anyio
@pytest.mark.parametrize("role", ["query", "passage"])
async def test_no_texts_give_no_rows(role: EmbedRole) -> None:
    assert (await letters_embedder(Letters()).embed([], role)).shape == (0, 5)


@pytest.mark.anyio
async def test_a_short_passage_does_not_wait_for_a_long_import() -> None:
    model = Letters()
    embedder = letters_embedder(model)
    short_done, importing = threading.Event(), threading.Event()

    def wait_in_the_import() -> None:
        if not importing.is_set():
            importing.set()
            assert short_done.wait(10)

    model.before_run = wait_in_the_import
    with anyio.fail_after(15):
        async with anyio.create_task_group() as group:
            group.start_soon(embedder.embed, ["a" * 5_000], "passage")
            await anyio.to_thread.run_sync(importing.wait, 10)
            await embedder.embed(["b"], "passage")
            short_done.set()


@pytest.mark.anyio
async def test_query_does_not_wait_for_passages() -> None:
    model = Letters()
    embedder = letters_embedder(model)
    query_done, importing = threading.Event(), threading.Event()

    def wait_in_passages() -> None:
        if not importing.is_set():
            importing.set()
            assert query_done.wait(10)

    model.before_run = wait_in_passages
    with anyio.fail_after(15):
        async with anyio.create_task_group() as group:
            group.start_soon(embedder.embed, ["a"], "passage")
            await anyio.to_thread.run_sync(importing.wait, 10)
            await embedder.embed(["b"], "query")
            query_done.set()


# Directories of the user


def field(number: int, value: int | str | bytes) -> bytes:
    """Encode one protobuf field; ONNX files are protobuf."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    data = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(data)) + data


def varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def onnx_value(name: str, kind: int, *dims: str) -> bytes:
    shape = b"".join(field(1, field(2, dim)) for dim in dims)
    return field(1, name) + field(2, field(1, field(1, kind) + field(2, shape)))


def onnx_lookup(table: Vectors, output: str, inputs: Sequence[str]) -> bytes:
    """Return an ONNX model whose output is the row of each token, in the table."""
    dims = b"".join(field(1, size) for size in table.shape)
    constant = dims + field(2, 1) + field(8, "table") + field(9, table.tobytes())
    node = field(1, "table") + field(1, "input_ids") + field(2, output) + field(4, "Gather")
    ins = b"".join(field(11, onnx_value(name, 7, "batch", "tokens")) for name in inputs)
    out = field(12, onnx_value(output, 1, "batch", "tokens", "hidden"))
    graph = field(1, node) + field(2, "lookup") + field(5, constant) + ins + out
    return field(1, 8) + field(7, graph) + field(8, field(1, "") + field(2, 17))


VOCABULARY = {
    word: number for number, word in enumerate(["[PAD]", "[CLS]", "[SEP]", "a", "b", "c"])
}
TABLE = np.eye(6, dtype=np.float32)


def export(folder: Path, *, table: Vectors = TABLE, output: str = "last_hidden_state") -> Path:
    inputs = ["input_ids", "attention_mask", "token_type_ids"]
    (folder / "onnx").mkdir()
    (folder / "onnx" / "model.onnx").write_bytes(onnx_lookup(table, output, inputs))
    special = [
        {"id": number, "content": word, "special": True, "single_word": False, "lstrip": False,
         "rstrip": False, "normalized": False}
        for word, number in list(VOCABULARY.items())[:3]
    ]  # fmt: skip
    template: dict[str, Any] = {
        "type": "BertProcessing",
        "sep": ["[SEP]", 2],
        "cls": ["[CLS]", 1],
    }
    tokenizer = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": special,
        "normalizer": None,
        "pre_tokenizer": {"type": "WhitespaceSplit"},
        "post_processor": template,
        "decoder": None,
        "model": {"type": "WordLevel", "vocab": VOCABULARY, "unk_token": "c"},
    }
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer), encoding="utf-8")
    config = {"hidden_size": 6, "max_position_embeddings": 8, "pad_token_id": 0}
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return folder


def pooling(folder: Path, **modes: bool) -> None:
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(modes), encoding="utf-8")


def encoded(folder: Path, *texts: str, **settings: Any) -> Vectors:
    return OnnxEncoder(card(OnnxSettings(path=folder, **settings))).encode(texts, "query")


def direction(*weights: float) -> Any:
    return pytest.approx(np.array(weights) / np.linalg.norm(weights), abs=1e-6)


def test_export_takes_the_mean_over_real_tokens(tmp_path: Path) -> None:
    short, long, empty = encoded(export(tmp_path), "a", "a b b", "")
    assert short == direction(0, 1, 1, 1, 0, 0)
    assert long == direction(0, 1, 1, 1, 2, 0)
    assert empty == direction(0, 1, 1, 0, 0, 0)


def test_export_takes_the_first_token_if_told(tmp_path: Path) -> None:
    pooling(export(tmp_path), pooling_mode_cls_token=True, pooling_mode_mean_tokens=False)
    assert encoded(tmp_path, "a b")[0] == direction(0, 1, 0, 0, 0, 0)


def test_export_refuses_a_pooling_that_it_does_not_know(tmp_path: Path) -> None:
    pooling(export(tmp_path), pooling_mode_max_tokens=True)
    with pytest.raises(ConfigError, match="pooling"):
        card(OnnxSettings(path=tmp_path))


def test_export_cuts_long_texts_into_windows(tmp_path: Path) -> None:
    # Six tokens fit beside the two special ones: a window of six a, one of two b.
    (vector,) = encoded(export(tmp_path), "a a a a a a b b")
    first = np.array([0, 1, 1, 6, 0, 0]) / 8
    second = np.array([0, 1, 1, 0, 2, 0]) / 4
    assert vector == direction(*(6 * first + 2 * second))


def test_export_uses_the_prefixes_of_the_settings(tmp_path: Path) -> None:
    folder = export(tmp_path)
    assert encoded(folder, "b", query_prefix="a ")[0] == direction(0, 1, 1, 1, 1, 0)


def test_name_tells_models_and_prefixes_apart(tmp_path: Path) -> None:
    folder = export(tmp_path)
    settings = [OnnxSettings(path=folder), OnnxSettings(path=folder, query_prefix="q: ")]
    settings += [OnnxSettings(), OnnxSettings(query_prefix="q: ")]
    names = [card(each).name for each in settings]
    assert len(set(names)) == 4
    assert names[2] == "multilingual-e5-small-int8-v1"
    assert names == [card(each).name for each in settings]
    pooling(folder, pooling_mode_cls_token=True)
    assert card(settings[0]).name != names[0]


@pytest.mark.parametrize("name", ["onnx/model.onnx", "tokenizer.json", "config.json"])
def test_export_without_a_file_names_it(tmp_path: Path, name: str) -> None:
    (export(tmp_path) / name).unlink()
    with pytest.raises(ConfigError, match=name) as caught:
        card(OnnxSettings(path=tmp_path))
    assert caught.value.code == "model_missing"


@pytest.mark.parametrize("name", ["onnx/model.onnx", "tokenizer.json", "config.json"])
def test_export_with_a_broken_file_names_it(tmp_path: Path, name: str) -> None:
    (export(tmp_path) / name).write_bytes(b"{}")
    with pytest.raises(ConfigError, match=name) as caught:
        encoded(tmp_path, "a")
    assert caught.value.code == "model_unusable"


def test_export_with_other_dimensions_than_it_says_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="3 dimensions"):
        encoded(export(tmp_path, table=np.ones((6, 3), np.float32)), "a")


def test_export_without_an_embedding_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="logits"):
        encoded(export(tmp_path, output="logits"), "a")


def test_failure_of_the_driver_is_a_model_error(tmp_path: Path) -> None:
    with pytest.raises(ModelError) as caught:
        encoded(export(tmp_path, table=np.eye(3, 6, dtype=np.float32)), "a")
    assert not caught.value.retryable


def test_every_exception_of_the_driver_is_mapped() -> None:
    from onnxruntime.capi import onnxruntime_pybind11_state as driver

    names = {error.__name__ for error in driver_errors()}
    raised = {
        name
        for name, value in vars(driver).items()
        if isinstance(value, type) and issubclass(value, BaseException)
    }
    assert raised == names
    assert {"Fail", "InvalidArgument", "InvalidGraph", "RuntimeException"} <= names


# The door


@pytest.mark.anyio
async def test_backend_opens_the_bundled_embedder_lazily(tmp_path: Path) -> None:
    assert (backend.name, backend.roles, backend.settings) == (
        "onnx",
        frozenset({Role.EMBEDDER}),
        OnnxSettings,
    )
    async with backend.open(OnnxSettings(threads=1)) as opened:
        assert opened.embedder is not None
        assert opened.embedder.name == "multilingual-e5-small-int8-v1"
        assert opened.embedder.dimensions == 384
        assert (await opened.embedder.embed(["a", "b"], "passage")).shape == (2, 384)
    with pytest.raises(ConfigError, match=r"no model\.onnx"):
        async with backend.open(OnnxSettings(path=tmp_path)):
            pass


@pytest.mark.parametrize("wrong", [{"pth": "x"}, {"threads": -1}, {"cache_size": -1}])
def test_settings_refuse_what_they_do_not_know(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        OnnxSettings(**wrong)


def test_export_may_keep_the_model_beside_the_tokenizer(tmp_path: Path) -> None:
    folder = export(tmp_path)
    shutil.move(folder / "onnx" / "model.onnx", folder / "model.onnx")
    assert encoded(folder, "a")[0] == direction(0, 1, 1, 1, 0, 0)
