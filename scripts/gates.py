"""Measures the code against the limits of CONTRIBUTING.md and fails when one is passed.

Lengths of functions leave the docstring out. Duplication is the share of code lines that lie in a
window of eight lines which occurs elsewhere; blank lines, comments, docstrings, imports and lone
punctuation are passed over.
"""

from __future__ import annotations

import ast
import io
import sys
import tokenize
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

SOURCE = Path("src/memos")
FILE_LINES = 500
FUNCTION_LINES = 60
FUNCTION_P95 = 35
PUBLIC_METHODS = 15
BROAD_EXCEPTS = 3
DUPLICATED = 0.03
WINDOW = 8
BUDGET = 20_000
ENVIRONMENT = ("environ", "getenv", "putenv")


@dataclass(frozen=True)
class Function:
    name: str
    lines: int


def main() -> int:
    trees = {path: ast.parse(path.read_text("utf-8")) for path in sorted(SOURCE.rglob("*.py"))}
    problems = [*long_files(trees), *crowded_classes(trees), *environment_reads(trees)]
    functions = [f for path, tree in trees.items() for f in measured(path, tree)]
    problems += [
        f"{f.name}: {f.lines} lines, at most {FUNCTION_LINES}"
        for f in functions
        if f.lines > FUNCTION_LINES
    ]
    lengths = sorted(f.lines for f in functions)
    p95 = lengths[int(len(lengths) * 0.95)]
    if p95 > FUNCTION_P95:
        problems.append(f"95% of functions have up to {p95} lines, at most {FUNCTION_P95}")
    broad = list(broad_excepts(trees))
    if len(broad) > BROAD_EXCEPTS:
        problems.append(f"{len(broad)} broad excepts, at most {BROAD_EXCEPTS}: {', '.join(broad)}")
    code = {path: code_lines(path) for path in trees}
    share = duplicated(code)
    if share >= DUPLICATED:
        problems.append(f"{share:.1%} of the lines are duplicated, at most {DUPLICATED:.0%}")
    total = sum(len(lines) for lines in code.values())
    print(
        f"{len(trees)} files, {total} lines of code (budget {BUDGET}), {len(functions)} functions: "
        f"median {lengths[len(lengths) // 2]}, p95 {p95}, max {lengths[-1]}; "
        f"broad excepts {len(broad)}; duplicated {share:.1%}"
    )
    if total > BUDGET:
        print(f"warning: the source has passed {BUDGET} lines")
    for problem in problems:
        print(f"error: {problem}")
    return 1 if problems else 0


def long_files(trees: dict[Path, ast.Module]) -> Iterator[str]:
    for path in trees:
        count = len(path.read_text("utf-8").splitlines())
        if count > FILE_LINES:
            yield f"{path}: {count} lines, at most {FILE_LINES}"


def measured(path: Path, tree: ast.Module) -> Iterator[Function]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0]
            doc = 0
            if (
                isinstance(first, ast.Expr)
                and isinstance(first.value, ast.Constant)
                and isinstance(first.value.value, str)
            ):
                doc = (first.end_lineno or 0) - first.lineno + 1
            yield Function(
                f"{path}:{node.lineno} {node.name}", (node.end_lineno or 0) - node.lineno + 1 - doc
            )


def crowded_classes(trees: dict[Path, ast.Module]) -> Iterator[str]:
    for path, tree in trees.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                public = [
                    n
                    for n in node.body
                    if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)
                    and not n.name.startswith("_")
                ]
                if len(public) > PUBLIC_METHODS:
                    yield (
                        f"{path}: class {node.name} has {len(public)} public methods, "
                        f"at most {PUBLIC_METHODS}"
                    )


def environment_reads(trees: dict[Path, ast.Module]) -> Iterator[str]:
    for path, tree in trees.items():
        if path.name == "settings.py":
            continue
        for node in ast.walk(tree):
            if (
                isinstance(node, ast.Attribute)
                and node.attr in ENVIRONMENT
                and isinstance(node.value, ast.Name)
                and node.value.id == "os"
            ):
                yield f"{path}:{node.lineno}: reads the environment; only settings.py may"


def broad_excepts(trees: dict[Path, ast.Module]) -> Iterator[str]:
    for path, tree in trees.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.ExceptHandler) and (
                node.type is None
                or (
                    isinstance(node.type, ast.Name)
                    and node.type.id in ("Exception", "BaseException")
                )
            ):
                yield f"{path}:{node.lineno}"


def code_lines(path: Path) -> list[str]:
    """Return the lines that carry code, white space folded."""
    text = path.read_text("utf-8")
    kept = set[int]()
    strings = set[int]()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.STRING and token.start[0] != token.end[0]:
            strings.update(range(token.start[0], token.end[0] + 1))
        if token.type not in (
            tokenize.COMMENT,
            tokenize.NL,
            tokenize.NEWLINE,
            tokenize.INDENT,
            tokenize.DEDENT,
            tokenize.ENDMARKER,
        ):
            kept.update(range(token.start[0], token.end[0] + 1))
    lines = text.splitlines()
    found = (" ".join(lines[number - 1].split()) for number in sorted(kept - strings))
    return [
        line
        for line in found
        if any(c.isalnum() for c in line) and not line.startswith(("import ", "from ", '"""'))
    ]


def duplicated(code: dict[Path, list[str]]) -> float:
    windows: dict[tuple[str, ...], list[tuple[Path, int]]] = defaultdict(list)
    for path, lines in code.items():
        for start in range(len(lines) - WINDOW + 1):
            windows[tuple(lines[start : start + WINDOW])].append((path, start))
    repeated = {
        (path, start + offset)
        for places in windows.values()
        if len(places) > 1
        for path, start in places
        for offset in range(WINDOW)
    }
    return len(repeated) / max(1, sum(len(lines) for lines in code.values()))


if __name__ == "__main__":
    sys.exit(main())
