"""What the code has is documented, and what is documented the code has."""

from __future__ import annotations

import ast
import inspect
import re
import runpy
import shlex
import subprocess
import sys
import tomllib
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast, get_args

import pytest
import typer
from fastapi.routing import APIRoute

from memos import MOS, errors, filters, options
from memos.backends.sqlite import connection
from memos.cli.main import app
from memos.ingest.messages import ROLES
from memos.ingest.reader import TEXT_SUFFIXES
from memos.kinds import KINDS
from memos.ports.stores import Feature
from memos.retrieve.pack import Dedup
from memos.retrieve.recipe import RECIPES
from memos.server.compat import chat, openmem, people, product, scheduler, start
from memos.server.compat.envelopes import PRODUCT
from memos.server.compat.unbuilt import UNBUILT
from memos.types import Tier

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "memos"
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]
PYPROJECT: Mapping[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))


def page(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def section(text: str, heading: str) -> str:
    """Return what stands below a heading, up to the next one of its level."""
    level = heading.split(maxsplit=1)[0]
    _, _, rest = text.partition(f"\n{heading}\n")
    assert rest, f"no heading {heading!r}"
    return re.split(rf"^#{{1,{len(level)}}} ", rest, maxsplit=1, flags=re.MULTILINE)[0]


def rows(text: str) -> Iterator[list[str]]:
    """Yield the cells of every table row."""
    for line in text.splitlines():
        if line.startswith("|") and not line.startswith("|---"):
            yield [cell.strip() for cell in line.strip("|").split("|")]


def quoted(text: str) -> list[str]:
    """Return what stands between back-ticks, outside fences."""
    plain = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    return re.findall(r"`([^`\n]+)`", plain)


def first_column(text: str) -> set[str]:
    return {name for cells in rows(text) for name in quoted(cells[0])}


# --- settings


def test_generated_blocks_are_up_to_date() -> None:
    script = ROOT / "scripts" / "generate_docs.py"
    done = subprocess.run(
        [sys.executable, script, "--check"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_environment_name_in_the_pages_is_a_setting() -> None:
    known = set(re.findall(r"\| `(MEMOS_[A-Z_]+)` \|", page("docs/configuration.md")))
    assert "MEMOS_SEARCH__LIMIT" in known
    for path in PAGES:
        named = set(re.findall(r"\bMEMOS_[A-Z][A-Z_]*[A-Z]", path.read_text("utf-8")))
        assert named <= known | {"MEMOS_CONFIG", "MEMOS_BOOTSTRAP_KEY"}, path.name


# --- command line


def command_lines() -> list[str]:
    found: list[str] = []
    for path in PAGES:
        for block in re.findall(
            r"^```(?:bash|console)\n(.*?)^```$", path.read_text("utf-8"), re.MULTILINE | re.DOTALL
        ):
            for line in block.splitlines():
                command = line.removeprefix("$ ").rpartition("| ")[2]
                if command.startswith("memos "):
                    found.append(command)
    return list(dict.fromkeys(found))


@pytest.mark.parametrize("line", command_lines())
def test_command_lines_in_the_pages_are_understood(line: str) -> None:
    command: Any = typer.main.get_command(app)
    context = command.make_context("memos", shlex.split(line, comments=True)[1:])
    while hasattr(command, "resolve_command"):
        name, command, rest = command.resolve_command(
            context, [*context._protected_args, *context.args]
        )
        context = command.make_context(name, rest, parent=context)


def test_every_command_has_its_section() -> None:
    group: Any = typer.main.get_command(app)
    told = {
        name.strip()
        for heading in re.findall(r"^## (.+)$", page("docs/cli.md"), re.MULTILINE)
        for name in heading.split(",")
    }
    assert told == set(group.commands)


def test_commands_named_in_the_pages_exist() -> None:
    group: Any = typer.main.get_command(app)
    for path in PAGES:
        for name in re.findall(r"`memos ([a-z]+)", path.read_text("utf-8")):
            assert name in group.commands, f"{path.name}: memos {name}"


# --- errors


def classes() -> list[type[errors.MemosError]]:
    found = [thing for thing in vars(errors).values() if isinstance(thing, type)]
    return [thing for thing in found if issubclass(thing, errors.MemosError)]


def test_every_error_class_is_documented() -> None:
    told = {
        cells[0].strip("`"): cells[1:4]
        for cells in rows(section(page("docs/errors.md"), "## Classes"))
    }
    told.pop("class")
    assert told == {
        kind.__name__: [f"`{kind.default_code}`", str(kind.status), str(kind.exit_code)]
        for kind in classes()
    }


def test_every_error_class_is_in_the_tree() -> None:
    tree = errors.__doc__ or ""
    assert {kind.__name__ for kind in classes()} == set(
        re.findall(r"^[│├└─ ]*([A-Z]\w+)", tree, re.MULTILINE)
    ) - {"Every"}


def test_every_error_code_is_documented_with_its_class() -> None:
    text = page("docs/errors.md")
    told = {
        code: set(quoted(cells[1]))
        for cells in rows(section(text, "## Codes"))
        for code in quoted(cells[0])
    }
    on_the_line = first_column(section(text, "## Command line"))
    default = {kind.default_code for kind in classes()}
    raised = codes()
    assert set(told) | on_the_line == set(raised) - default
    assert {code: told[code] for code in told} == {code: raised[code] for code in told}


def codes() -> dict[str, set[str]]:
    """Return every code in the source, with the classes that it is raised as."""
    found: dict[str, set[str]] = defaultdict(set)
    for path in SOURCE.rglob("*.py"):
        for code, kind in _codes_of(path):
            found[code].add(kind)
    for code, _, _ in connection._STORE_CODES.values():
        found[code].add("StoreError")
    return found


def _codes_of(path: Path) -> Iterator[tuple[str, str]]:
    """Yield codes that stand as keywords, as assignments, in JSON, and those of models' servers."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Call):
            yield from _codes_of_call(node)
        elif isinstance(node, ast.ClassDef) and path.name == "errors.py":
            yield from _default_codes(node)
        elif isinstance(node, ast.Assign) and path.name == "connection.py":
            if ast.unparse(node.targets[0]) == "code":
                yield from ((code, "StoreError") for code in _constants(node.value))
        elif isinstance(node, ast.Dict):
            for key, value in zip(node.keys, node.values, strict=True):
                if isinstance(key, ast.Constant) and key.value == "code":
                    yield from ((code, "") for code in _constants(value))


def _codes_of_call(call: ast.Call) -> Iterator[tuple[str, str]]:
    match call:
        case ast.Call(func=ast.Name(id=kind), keywords=keywords):
            for keyword in keywords:
                if keyword.arg == "code":
                    yield from ((code, kind) for code in _constants(keyword.value))
        case ast.Call(func=ast.Attribute(attr="error" | "failed" as name), keywords=keywords):
            kind = "ModelError" if name == "error" else "UpstreamError"
            for keyword in keywords:
                if keyword.arg == "code":  # a model's server, a search engine
                    yield from ((code, kind) for code in _constants(keyword.value))
        case _:
            pass


def _default_codes(kind: ast.ClassDef) -> Iterator[tuple[str, str]]:
    for line in kind.body:
        match line:
            case (
                ast.Assign(targets=[ast.Name(id="default_code")], value=value)
                | ast.AnnAssign(target=ast.Name(id="default_code"), value=ast.Constant() as value)
            ):
                yield from ((code, kind.name) for code in _constants(value))
            case _:
                pass


def _constants(node: ast.expr) -> Iterator[str]:
    match node:
        case ast.Constant(value=str(code)):
            yield code
        case ast.IfExp(body=body, orelse=other):
            yield from (*_constants(body), *_constants(other))
        case _:
            pass


# --- the API


def shapes() -> dict[str, type[object]]:
    return {
        "add": options.AddOptions,
        "search": options.SearchOptions,
        "get_all": options.ListOptions,
        "update": options.UpdateOptions,
        "chat": options.ChatOptions,
        "usage": options.UsageOptions,
    }


@pytest.mark.parametrize("method", shapes())
def test_every_option_is_documented(method: str) -> None:
    text = section(page("docs/python.md"), f"## {method}")
    told = first_column(text.partition("| option | meaning |")[2])
    own = set(shapes()[method].__annotations__)
    inherited = {"user", "cube", "cubes"}
    assert told == own - inherited


def test_every_method_is_documented() -> None:
    text = page("docs/python.md")
    names = {name for name, _ in inspect.getmembers(MOS, callable) if not name.startswith("_")}
    assert names == {
        "add", "chat", "chat_stream", "check", "close", "dump", "forget", "get", "get_all",
        "history", "import_chats", "init_from_dir", "load", "open", "rebuild", "reindex",
        "search", "simple", "stats", "update", "usage",
    }  # fmt: skip
    for name in names:
        assert re.search(rf"`(MOS\.)?{name}\(", text), name
    with MOS.open() as mos:  # opens nothing before the first call
        for part in ("users", "cubes", "jobs"):
            own = {name for name in dir(getattr(mos, part)) if not name.startswith("_")}
            assert {
                cell.partition("(")[0] for cell in first_column(section(text, f"## {part}"))
            } == {f"{part}.{name}" for name in own}


def test_roles_and_suffixes_are_documented() -> None:
    text = section(page("docs/python.md"), "## add")
    assert set(quoted(text)) >= ROLES | TEXT_SUFFIXES


def tables(text: str) -> list[set[str]]:
    """Return the first column of every table, in order."""
    blocks = re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE)
    return [first_column(block.partition("|---")[2].partition("\n")[2]) for block in blocks]


def test_kinds_tiers_recipes_and_features_are_documented() -> None:
    text = page("docs/concepts.md")
    assert tables(section(text, "## Kind and tier")) == [set(KINDS), set(get_args(Tier))]
    lanes, features, recipes, folded = tables(section(text, "## Search"))
    assert lanes == {"text", "vector", "window"}
    assert features == {str(feature) for feature in Feature}
    assert recipes == set(RECIPES)
    assert folded == set(get_args(Dedup))


def test_filter_operators_and_fields_are_documented() -> None:
    text = page("docs/filters.md")
    assert first_column(section(text, "## Operators")) == set(filters.OPERATORS)
    fields = first_column(section(text, "## Fields"))
    assert fields >= filters.RECORD_FIELDS | filters.PLACE_FIELDS
    told: dict[str, str] = {}
    for cells in rows(section(text, "## MemOS's form")):
        told |= _paired(quoted(cells[0]), quoted(cells[1]))
    assert told == dict(filters._ALIASES)
    spelled: dict[str, str] = {}
    for cells in rows(section(text, "## Operators")):
        spelled |= _paired(quoted(cells[1]), quoted(cells[0]))
    assert spelled == dict(filters._SPELLINGS)


def _paired(names: list[str], meanings: list[str]) -> dict[str, str]:
    """Return name -> meaning for a row of several of both, or of several names for one meaning."""
    if not meanings:
        return {}
    return dict(zip(names, meanings * len(names) if len(meanings) == 1 else meanings, strict=True))


# --- building and installing


def test_extras_are_documented() -> None:
    extras = set(cast("Mapping[str, object]", PYPROJECT["project"]["optional-dependencies"]))
    for name in ("README.md", "README.zh.md"):
        assert extras <= set(quoted(page(name))), name
    for path in PAGES:
        for named in re.findall(r"(?:agent-memos|'\.)\[([\w,]+)\]", path.read_text("utf-8")):
            assert set(named.split(",")) <= extras, path.name


def test_install_lines_name_our_distribution() -> None:
    assert PYPROJECT["project"]["name"] == "agent-memos"
    for path in (*PAGES, *SOURCE.rglob("*.py")):
        if path.name != "0006-distribution-name-and-lock-file.md":
            assert not re.search(r"pip install '?memos\b", path.read_text("utf-8")), path.name


def test_make_targets_are_documented() -> None:
    targets = set(re.findall(r"^\.PHONY: (.+)$", page("Makefile"), re.MULTILINE)[0].split())
    told = {
        cells[0].strip("`")
        for cells in rows(page("CONTRIBUTING.md"))
        if cells[0].startswith("`make ")
    }
    assert told == {f"make {target}" for target in targets}
    for path in PAGES:
        text = path.read_text("utf-8")
        for name in re.findall(r"(?:`|^)make (?:[A-Z]+=\S+ )?([a-z][a-z-]*)", text, re.MULTILINE):
            assert name in targets, f"{path.name}: make {name}"


def test_gates_are_documented_with_their_limits() -> None:
    gates = runpy.run_path(str(ROOT / "scripts" / "gates.py"))
    tool = PYPROJECT["tool"]
    told = [cells[1] for cells in rows(section(page("CONTRIBUTING.md"), "## Gates"))][1:]
    numbers = [found.group() for cell in told if (found := re.search(r"^(below )?\d+[%]?", cell))]
    assert numbers == [
        str(gates["FILE_LINES"]),
        str(gates["FUNCTION_LINES"]),
        str(gates["FUNCTION_P95"]),
        str(gates["PUBLIC_METHODS"]),
        str(tool["ruff"]["lint"]["mccabe"]["max-complexity"]),
        str(tool["ruff"]["lint"]["pylint"]["max-args"]),
        str(gates["BROAD_EXCEPTS"]),
        f"below {gates['DUPLICATED']:.0%}",
        "0",
        str(gates["BUDGET"]),
        f"{tool['coverage']['report']['fail_under']}%",
        str(tool["pytest"]["ini_options"]["timeout"]),
    ]


def test_layers_are_documented() -> None:
    (contract,) = [
        c for c in PYPROJECT["tool"]["importlinter"]["contracts"] if c["type"] == "layers"
    ]
    block = section(page("ARCHITECTURE.md"), "## Layers").split("```")[1]
    assert block.split("\n")[1:-1] == contract["layers"]


def test_every_route_of_a_dialect_has_its_status_in_the_table() -> None:
    row = re.compile(r"^\| (product|openmem|start) \| `([A-Z]+) (\S+)` \| (\w+) \|", re.MULTILINE)
    told = {(said[0], said[1], said[2]): said[3] for said in row.findall(page("docs/compat.md"))}
    unbuilt = {(dialect, method, path) for dialect, method, path, _ in UNBUILT}
    assert {key for key, status in told.items() if status == "501"} == unbuilt
    served = {
        (dialect, method, route.path.removeprefix(prefix))
        for dialect, prefix, routers in (
            ("product", PRODUCT, (product.router, people.router, scheduler.router, chat.product)),
            ("openmem", "", (openmem.router, chat.openmem)),
            ("start", "", (start.router,)),
        )
        for router in routers
        for route in router.routes
        if isinstance(route, APIRoute)
        for method in route.methods
    }
    assert set(told) == served
