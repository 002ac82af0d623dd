"""The pages hang together: links, headings, both READMEs, the decisions, the lists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]
DECISIONS = sorted((ROOT / "docs" / "adr").glob("*.md"))
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_HEADING = re.compile(r"^(#+) (.+)$", re.MULTILINE)

EXAMPLES = sorted((ROOT / "examples").glob("*/*.py"))


def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def prose(page: Path) -> str:
    return _FENCE.sub("", text_of(page))


def headings(page: Path) -> list[tuple[str, str]]:
    return _HEADING.findall(prose(page))


def anchors(page: Path) -> set[str]:
    """Return the anchors that code hosts make of the headings."""
    plain = (re.sub(r"[^\w\- ]", "", title.lower()) for _, title in headings(page))
    return {title.replace(" ", "-") for title in plain}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for link in _LINK.findall(prose(page)):
        if link.startswith("https://"):
            continue
        name, _, anchor = link.partition("#")
        target = page.parent / name if name else page
        assert target.exists(), link
        if anchor:
            assert anchor in anchors(target), link


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_code_fences_are_closed(page: Path) -> None:
    assert text_of(page).count("```") == 2 * len(_FENCE.findall(text_of(page)))


def test_both_readmes_keep_step() -> None:
    english, chinese = ROOT / "README.md", ROOT / "README.zh.md"
    assert [mark for mark, _ in headings(english)] == [mark for mark, _ in headings(chinese)]
    assert _FENCE.findall(text_of(english)) == _FENCE.findall(text_of(chinese))
    here, there = (
        [link.replace("README.zh.md", "README.md") for link in _LINK.findall(prose(page))]
        for page in (english, chinese)
    )
    assert here == there


def test_both_readmes_have_the_same_figures() -> None:
    english, chinese = (figures(ROOT / name) for name in ("README.md", "README.zh.md"))
    assert english
    assert english == chinese


def figures(page: Path) -> list[str]:
    """Return the last column of the table of figures."""
    text = text_of(page)
    assert text.count("<!-- figures:begin -->") == text.count("<!-- figures:end -->") == 1
    block = text.partition("<!-- figures:begin -->")[2].partition("<!-- figures:end -->")[0]
    return [line.rstrip(" |").rpartition("| ")[2] for line in block.strip().splitlines()[2:]]


def test_every_page_and_example_is_listed() -> None:
    listed = set(_LINK.findall(text_of(ROOT / "docs" / "index.md")))
    pages = {path.name for path in (ROOT / "docs").glob("*.md")} - {"index.md"}
    pages |= {f"adr/{path.name}" for path in DECISIONS}
    pages |= {f"../examples/{path.parent.name}/{path.name}" for path in EXAMPLES}
    assert pages - listed == set()


def test_decisions_are_numbered_and_have_the_same_parts() -> None:
    assert [path.name[:4] for path in DECISIONS] == [f"{n + 1:04}" for n in range(len(DECISIONS))]
    for path in DECISIONS:
        titles = [title for _, title in headings(path)]
        assert titles[0].startswith(f"{path.name[:4]}: ")
        assert {"Context", "Decision", "Consequences"} <= set(titles), path.name
        assert len(text_of(path).split()) <= 700, f"{path.name} is longer than a page"
