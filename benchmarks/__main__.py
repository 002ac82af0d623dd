"""``python -m benchmarks``: measure recall on a data set, or speed on generated text."""

from __future__ import annotations

import contextlib
import functools
import platform
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from benchmarks import cubes as many
from benchmarks import isolation as tenants
from benchmarks import load as loads
from benchmarks import recall as recalls
from benchmarks import speed as speeds
from benchmarks import transfer as transfers
from benchmarks.cases import DataError, Suite
from benchmarks.peers import run as comparison
from benchmarks.peers.plot import svg
from benchmarks.peers.table import markdown, print_table
from benchmarks.reporting import print_report, summarise, write_json, write_rankings
from benchmarks.subject import opened_embedder
from benchmarks.suites import LOADERS, load
from benchmarks.vector_cache import CachedEmbedder, default_folder
from memos import MOS, __version__
from memos.errors import MemosError
from memos.retrieve.recipe import Recipe, named
from memos.settings import Settings

app = typer.Typer(
    add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False, help=__doc__
)
_out = Console(width=None if Console().is_terminal else 120)
_err = Console(stderr=True)


@app.command()
def recall(  # noqa: PLR0913 - typer reads the options from the signature
    *,
    suite: Annotated[str, typer.Option(help=f"One of {', '.join(LOADERS)}.")],
    data: Annotated[Path, typer.Option(help="File or folder in the format of the suite.")],
    recipe: Annotated[str, typer.Option(help="Recipe to search with.")] = "fast",
    without: Annotated[list[str] | None, typer.Option(help="Leave a part of it out.")] = None,
    embedder: Annotated[str | None, typer.Option(help="A kind, or its settings in JSON.")] = None,
    json: Annotated[Path | None, typer.Option(help="Write the figures here.")] = None,
    rankings: Annotated[Path | None, typer.Option(help="Write a line per question here.")] = None,
    embeddings: Annotated[Path | None, typer.Option(help="Folder of cached vectors.")] = None,
    limit: Annotated[int, typer.Option(help="Memories per search.", min=1)] = 200,
    limit_conversations: Annotated[int | None, typer.Option(help="Only the first N.")] = None,
) -> None:
    """Ingest a data set through the public API, search it, and print model-free metrics."""
    with _explained():
        cases = load(suite, data).first(limit_conversations)
        strategy = functools.reduce(Recipe.without, without or (), named(recipe))
        options = recalls.Options(recipe=strategy, limit=limit)
        with _opened(embedder, embeddings or default_folder()) as (mos, cached):
            outcome = _run(cases, mos, cached, options)
            config = _config(cases, data, options, cached)
    report = summarise(cases.name, config, outcome)
    print_report(_out, report)
    if json:
        write_json(json, report)
    if rankings:
        write_rankings(rankings, outcome.answers)


@app.command()
def speed(
    *,
    items: Annotated[int, typer.Option(help="Memories to search among.", min=100)],
    json: Annotated[Path | None, typer.Option(help="Write the figures here.")] = None,
    cubes: Annotated[int, typer.Option(help="Cubes that the same memories are spread over.")] = 50,
    repeats: Annotated[int, typer.Option(help="Searches per kind of query.", min=1)] = 200,
    chinese_share: Annotated[float, typer.Option(help="Share of Chinese messages.")] = 0.0,
) -> None:
    """Time adding and searching, next to the limits of the machine measured in the same run."""
    with _saying("speed") as say:
        plan = speeds.Plan(items=items, cubes=cubes, repeats=repeats, chinese_share=chinese_share)
        report = speeds.run(plan, say)
    speeds.print_report(_out, report)
    if json:
        write_json(json, report)


@app.command()
def cubes(
    *,
    count: Annotated[int, typer.Option("--cubes", help="Cubes in one store.", min=200)] = 10_000,
    memories: Annotated[int, typer.Option(help="Memories in each.", min=1)] = 20,
    json: Annotated[Path | None, typer.Option(help="Write the figures here.")] = None,
) -> None:
    """Fill one store with many cubes: what one of them costs among few others, and among many."""
    with _saying("cubes") as say:
        report = many.run(many.Plan(cubes=count, memories=memories), say)
    speeds.print_report(_out, report)
    if json:
        write_json(json, report)


@app.command()
def peers(
    *,
    suite: Annotated[str, typer.Option(help=f"One of {', '.join(LOADERS)}.")],
    data: Annotated[Path, typer.Option(help="File or folder in the format of the suite.")],
    only: Annotated[list[str] | None, typer.Option(help="Drivers to run; all by default.")] = None,
    json: Annotated[Path | None, typer.Option(help="Write the figures here.")] = None,
    table: Annotated[Path | None, typer.Option(help="Write a Markdown table here.")] = None,
    plot: Annotated[Path | None, typer.Option(help="Write a drawing (SVG) here.")] = None,
    limit_conversations: Annotated[int | None, typer.Option(help="Only the first N.")] = None,
) -> None:
    """Measure MemOS beside other memories, each in an environment of its own, same vectors."""
    with _explained():
        cases = load(suite, data).first(limit_conversations)
    folder = default_folder()
    with (
        opened_embedder(None) as inner,
        CachedEmbedder(inner, folder) as embedder,
        _saying("peers") as say,
    ):
        report = comparison.run(cases, embedder, only or (), folder / "peers", say)
    print_table(_out, report)
    if json:
        json.write_bytes(msgspec.json.format(msgspec.json.encode(report)))
    if table:
        table.write_text(markdown(report), encoding="utf-8")
    if plot:
        plot.write_text(svg(report), encoding="utf-8")


@app.command()
def transfer(
    *,
    items: Annotated[int, typer.Option(help="Memories of the cube.", min=1)],
    folder: Annotated[Path | None, typer.Option(help="Where the stores are made.")] = None,
    json: Annotated[Path | None, typer.Option(help="Write the figures here.")] = None,
) -> None:
    """Fill a cube, dump it and load it into a fresh store: seconds and peak memory of each."""
    steps: list[transfers.Step] = []
    for step in transfers.run(items, folder):
        steps.append(step)
        _out.print(
            f"{step.name:6} {step.seconds:8.1f} s, {step.rss_mb:7.0f} MB of memory at most, "
            f"{step.megabytes:8.1f} MB on disk, {step.memories} memories"
        )
    if json:
        json.write_text(msgspec.json.encode(steps).decode(), encoding="utf-8")


@app.command("load")
def under_load(
    *,
    items: Annotated[int, typer.Option(help="Memories to search among.", min=1000)] = 10_000,
    clients: Annotated[int, typer.Option(help="Clients at a time.", min=1)] = 64,
    seconds: Annotated[float, typer.Option(help="For how long.", min=1)] = 60.0,
    json: Annotated[Path | None, typer.Option(help="Write the figures here.")] = None,
) -> None:
    """Time the server with one client and with many, beside the same one with an empty handler."""
    plan = loads.Plan(items=items, clients=clients, seconds=seconds)
    with _saying("load") as say:
        report = loads.run(plan, say)
    speeds.print_report(_out, report)
    if json:
        write_json(json, report)


@app.command()
def isolation(
    *,
    calls: Annotated[int, typer.Option(help="Random calls.", min=1)] = 20_000,
    seed: Annotated[int, typer.Option(help="Which random calls.")] = 1,
) -> None:
    """Call the server as many tenants over every dialect, and check who gets what."""
    with _progress() as progress, tempfile.TemporaryDirectory(prefix="memos-isolation-") as home:
        task = progress.add_task("isolation", total=calls)
        plan = tenants.Plan(calls, seed=seed)
        counted = tenants.run(plan, Path(home), lambda: progress.advance(task))
    for name, count in sorted(counted.items()):
        _out.print(f"{name:32} {count:6}")


@contextlib.contextmanager
def _explained() -> Iterator[None]:
    """Let errors of the caller end in a sentence, not in a trace."""
    try:
        yield
    except (DataError, MemosError) as error:
        _err.print(f"[red]error:[/red] {error}", soft_wrap=True)
        raise typer.Exit(2) from error


@contextlib.contextmanager
def _opened(embedder: str | None, folder: Path) -> Iterator[tuple[MOS, CachedEmbedder]]:
    """Open a MOS in a temporary home, with an embedder behind the cache."""
    with (
        tempfile.TemporaryDirectory(prefix="memos-recall-") as home,
        opened_embedder(embedder) as inner,
        CachedEmbedder(inner, folder) as cached,
        MOS.open(Settings(home=Path(home)), embedder=cached) as mos,
    ):
        yield mos, cached


def _run(
    cases: Suite, mos: MOS, embedder: CachedEmbedder, options: recalls.Options
) -> recalls.Outcome:
    with _progress() as progress:
        task = progress.add_task(cases.name, total=recalls.steps(cases))

        def advance(count: int) -> None:
            progress.update(
                task, advance=count, description=f"{cases.name}, {embedder.computed} embedded"
            )

        return recalls.run(cases, mos, embedder, options=options, advance=advance)


def _config(
    cases: Suite, data: Path, options: recalls.Options, embedder: CachedEmbedder
) -> dict[str, object]:
    return {
        "data": data.name,
        "recipe": options.recipe.name,
        "limit": options.limit,
        "embedder": embedder.name,
        "dimensions": embedder.dimensions,
        "conversations": len(cases.conversations),
        "turns": sum(len(conversation.turns) for conversation in cases.conversations),
        "questions": sum(len(conversation.questions) for conversation in cases.conversations),
        "memos": __version__,
        "python": platform.python_version(),
        "machine": platform.machine(),
    }


@contextlib.contextmanager
def _saying(name: str) -> Iterator[Callable[[str], None]]:
    """Show what is being done."""
    with _progress() as progress:
        task = progress.add_task(name, total=None)
        yield lambda text: progress.update(task, description=text)


def _progress() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=_err,
        transient=True,
    )


if __name__ == "__main__":
    app()
