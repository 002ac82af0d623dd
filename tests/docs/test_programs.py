"""Every example and every Python block of the pages runs, and prints what it says."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted((ROOT / "examples").glob("*/*.py"))
_BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_PROMISE = re.compile(r"^ *print\(.*\)  # (.+)$", re.MULTILINE)


def programs(page: Path) -> list[str]:
    return _BLOCK.findall(page.read_text(encoding="utf-8"))


PAGES = [
    page for page in sorted({ROOT / "README.md", *(ROOT / "docs").rglob("*.md")}) if programs(page)
]


def promised(source: str) -> list[str]:
    """Return what the comments behind the prints say that they print."""
    return _PROMISE.findall(source)


def kept(promises: list[str], printed: str) -> list[str]:
    """Return the promises that the output keeps, in their order."""
    lines = iter(printed.splitlines())
    return [promise for promise in promises if promise in lines]


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name)
def test_every_example_runs_and_prints_what_it_says(
    example: Path, bare: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runpy.run_path(str(example), run_name="__main__")
    promises = promised(example.read_text(encoding="utf-8"))
    assert promises
    assert kept(promises, capsys.readouterr().out) == promises
    assert not (bare / "store").exists()  # it cleans up after itself


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_every_python_block_of_a_page_runs(
    page: Path, bare: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names: dict[str, object] = {"__name__": "__main__"}
    for number, block in enumerate(programs(page), 1):
        exec(compile(block, f"{page.name}, block {number}", "exec"), names)
        promises = promised(block)
        assert kept(promises, capsys.readouterr().out) == promises


def test_pages_have_programs() -> None:
    assert {page.name for page in PAGES} >= {"README.md", "python.md", "filters.md", "errors.md"}
