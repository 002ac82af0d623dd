"""Keyword options of the API, checked once, at the door."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from typing import Final, TypeAlias, TypedDict, TypeVar, cast, get_args

import msgspec

from memos.errors import InvalidInput
from memos.forget import Mode
from memos.ingest.messages import check_text, read_time
from memos.retrieve.pack import Dedup
from memos.retrieve.recipe import Recipe
from memos.types import JobState, Json, JsonObject, Tier

Moment: TypeAlias = datetime | str | int | float
T = TypeVar("T")
MAX_LIMIT: Final = 10_000
MAX_NEIGHBOURS: Final = 20
_MAX_NAME: Final = 512


class Who(TypedDict, total=False):
    """Whose memories: the acting user and one cube (its own, when none is named)."""

    user: str
    cube: str


class Where(TypedDict, total=False):
    """Whose memories, over one or several cubes; all that the user may read when none is named."""

    user: str
    cube: str
    cubes: Sequence[str]


class AddOptions(Who, total=False):
    """How to remember what is handed over.

    ``session`` orders messages; ``agent`` and ``app`` are further parts of the place. ``batch_id``
    makes a repeated call harmless. The rest is stored with every memory of the call.
    """

    agent: str
    app: str
    session: str
    batch_id: str
    kind: str
    tier: Tier
    title: str
    confidence: float
    tags: Sequence[str]
    info: JsonObject
    valid_from: Moment
    valid_to: Moment
    expires_at: Moment


class SearchOptions(Where, total=False):
    """How to look.

    ``where`` is a filter (``memos.filters``). ``budget`` limits the tokens of all hits together.
    ``as_of`` asks what was known at that instant; ``at`` is the moment of the question.
    ``recipe`` is the name of a strategy, or one of one's own. ``rerank`` says whether a
    configured reranker puts the best in order. ``neighbours`` turns before and after a hit are
    shown with it. ``internet`` asks the configured search engine too. ``session`` is the
    conversation in which it is asked; to search one, name it in ``where``.
    """

    where: object
    limit: int
    budget: int
    recipe: str | Recipe
    dedup: Dedup
    at: Moment
    as_of: Moment
    rerank: bool
    neighbours: int
    internet: bool
    session: str


class ListOptions(Where, total=False):
    """Which memories to list, ``limit`` at a time; ``cursor`` is the ``next`` of the last page."""

    where: object
    limit: int
    cursor: str
    as_of: Moment


class UpdateOptions(Who, total=False):
    """What to change; what is not named stays.

    ``expect`` is the version that is being changed; ``batch_id`` makes a repeated call harmless.
    """

    text: str
    title: str | None
    tier: Tier
    confidence: float | None
    tags: Sequence[str]
    info: JsonObject
    valid_from: Moment | None
    valid_to: Moment | None
    expires_at: Moment | None
    expect: int
    batch_id: str


class ForgetOptions(Where, total=False):
    """Which memories to forget when they are not named by id, and how.

    ``mode`` "retire" hides them and keeps their history; "erase" leaves nothing but a tombstone.
    """

    where: object
    mode: Mode


class ChatOptions(Where, total=False):
    """How to talk.

    ``cube`` is where the exchange is remembered; memories come from ``cubes``, from ``cube``, or
    from all that the user may read. ``session`` is the conversation that is gone on with. A second
    call with the same ``batch_id`` is remembered once. ``system`` is the system text with
    ``{memories}`` in it, ``budget`` the tokens of the whole prompt, ``max_tokens`` those of the
    answer. ``internet`` asks the configured search engine too.
    """

    agent: str
    app: str
    session: str
    batch_id: str
    where: object
    limit: int
    recipe: str | Recipe
    at: Moment
    system: str
    budget: int
    max_tokens: int
    remember: bool
    internet: bool


class JobsOptions(Where, total=False):
    """Which jobs to list, ``limit`` at a time; ``cursor`` is the ``next`` of the last page."""

    state: JobState
    label: str
    limit: int
    cursor: str


class UsageOptions(Where, total=False):
    """Whose accounts, and from which day (UTC) on."""

    since: Moment


def known(options: Mapping[str, object], shape: type[object]) -> None:
    """Refuse options that ``shape`` does not have.

    Raises:
        InvalidInput: Naming the option and those there are.
    """
    allowed = _names(shape)
    if not allowed.issuperset(options):
        unknown = sorted(set(options) - allowed)
        raise InvalidInput(
            f"unknown option {unknown[0]!r}; known are: {', '.join(sorted(allowed))}",
            code="unknown_option",
        )


@cache
def _names(shape: type[object]) -> frozenset[str]:
    bases = (shape, *getattr(shape, "__orig_bases__", ()))
    return frozenset(name for base in bases for name in getattr(base, "__annotations__", ()))


def name(value: object, what: str) -> str | None:
    """Return an optional name of a place.

    Raises:
        InvalidInput: It is empty, too long or not a string.
    """
    if value is None:
        return None
    if not isinstance(value, str) or not value.strip():
        raise InvalidInput(f"{what}: expected a non-empty string, got {value!r:.80}")
    if len(value) > _MAX_NAME:
        raise InvalidInput(f"{what}: longer than {_MAX_NAME} characters")
    return check_text(value, what)


def text(value: object, what: str) -> str:
    """Return a string that is not blank.

    Raises:
        InvalidInput: It is blank, malformed or not a string.
    """
    if not isinstance(value, str) or not value.strip():
        raise InvalidInput(f"{what}: expected a non-empty string, got {value!r:.80}", code="empty")
    return check_text(value, what)


def count(value: object, what: str, most: int = MAX_LIMIT) -> int:
    """Return a whole number from 1 to ``most``.

    Raises:
        InvalidInput: It is not.
    """
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= most:
        raise InvalidInput(f"{what}: expected a whole number from 1 to {most}, got {value!r:.80}")
    return value


def neighbours(value: object) -> int:
    """Return how many turns before and after a hit are shown.

    Raises:
        InvalidInput: It is no whole number from 0 to ``MAX_NEIGHBOURS``.
    """
    return (
        0
        if value == 0 and not isinstance(value, bool)
        else count(value, "neighbours", MAX_NEIGHBOURS)
    )


def one_of(value: object, type_: object, what: str) -> str:
    """Return one of the words that a ``Literal`` type allows.

    Raises:
        InvalidInput: It is none of them.
    """
    words = cast("tuple[str, ...]", get_args(type_))
    if value not in words:
        raise InvalidInput(f"{what}: {value!r:.80} is none of {', '.join(words)}")
    return cast("str", value)


def moment(value: object, what: str) -> datetime | None:
    """Return an optional point in time, with a zone.

    Raises:
        InvalidInput: It names none.
    """
    if value is None:
        return None
    found = read_time(value, what)
    if found is None:
        raise InvalidInput(f"{what}: {value!r:.80} is not an ISO 8601 date", code="invalid_date")
    try:
        return found.astimezone(UTC)
    except OverflowError:
        raise InvalidInput(f"{what}: {value!r:.80} is out of range", code="invalid_date") from None


def tags(value: object) -> tuple[str, ...]:
    """Return tags, each once.

    Raises:
        InvalidInput: They are not a list of non-empty strings.
    """
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise InvalidInput(f"tags: expected a list of strings, got {value!r:.80}")
    return tuple(dict.fromkeys(text(tag, "tags") for tag in cast("Sequence[object]", value)))


def json_object(value: object, what: str) -> Mapping[str, Json]:
    """Return a mapping that JSON can hold, as JSON would give it back.

    Raises:
        InvalidInput: It is not one.
    """
    if not isinstance(value, Mapping):
        raise InvalidInput(f"{what}: expected an object, got {type(value).__name__}")
    try:
        encoded = msgspec.json.encode(value)
        return msgspec.json.decode(encoded, type=dict[str, object])
    except (TypeError, ValueError, RecursionError, msgspec.MsgspecError) as error:
        raise InvalidInput(f"{what}: cannot be written as JSON ({error})") from None


def confidence(value: object) -> float | None:
    """Return an optional confidence.

    Raises:
        InvalidInput: It is not a number from 0 to 100.
    """
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 100:  # noqa: PLR2004
        raise InvalidInput(f"confidence: expected a number from 0 to 100, got {value!r:.80}")
    return float(value)


def names(value: object, what: str) -> list[str]:
    """Return a list of names, each once.

    Raises:
        InvalidInput: It is not one, or it is empty.
    """
    if isinstance(value, str) or not isinstance(value, Sequence) or not value:
        raise InvalidInput(f"{what}: expected a non-empty list of strings, got {value!r:.80}")
    return list(dict.fromkeys(text(entry, what) for entry in cast("Sequence[object]", value)))


def flag(value: object, what: str) -> bool:
    """Return a truth value.

    Raises:
        InvalidInput: It is something else.
    """
    if not isinstance(value, bool):
        raise InvalidInput(f"{what}: expected true or false, got {value!r:.80}")
    return value
