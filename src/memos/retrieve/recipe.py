"""Search strategies are data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from memos.errors import InvalidInput
from memos.ports.stores import Feature
from memos.retrieve.advice import asks_advice
from memos.retrieve.pack import Dedup

_MEANING: Final = frozenset({Feature.COSINE, Feature.COSINE_NEAR})


@dataclass(frozen=True, slots=True)
class Recipe:
    """A named way to search.

    Attributes:
        name: How callers ask for it.
        text: What the words' score counts; 0 leaves the lane out.
        weights: What the other features count. Scores and cosines are standardised over the
            candidates before they are weighted; the rest is taken as it is.
        session: What the session of a candidate counts: how much its candidates say together.
        leading: What it counts to be the best candidate of a session, or close to that: other
            sessions may tell more than the second best turn of the same one.
        aspects: What the sentences of a question count by themselves, as a share of the whole.
        advice: What features count instead where the question asks what to do or to choose.
        liking: How far such a question's vector is moved towards that of its asker's likes.
        dedup: What counts as said before when a call does not say.
        thinks: A chat model asks further questions and says whether what was found suffices.
        recalls: What such searches found for earlier turns of the conversation is merged.
    """

    name: str
    text: float
    weights: Mapping[Feature, float]
    session: float = 0.0
    leading: float = 0.0
    aspects: float = 0.0
    advice: Mapping[Feature, float] = field(default_factory=dict[Feature, float])
    liking: float = 0.0
    dedup: Dedup = "exact"
    thinks: bool = False
    recalls: bool = False

    @property
    def meaning(self) -> bool:
        """Whether the query has to be embedded."""
        return not _MEANING.isdisjoint(self.weights)

    def asked(self, question: str) -> Recipe:
        """Return the recipe with the weights for what is asked."""
        if not self.advice or not asks_advice(question):
            return self
        return replace(self, weights={**self.weights, **self.advice})

    def alone(self) -> Recipe:
        """Return the recipe without a model's help and without earlier turns."""
        return replace(self, thinks=False, recalls=False)

    def without(self, part: str) -> Recipe:
        """Return the recipe without one of its parts, to see what that is worth.

        Raises:
            InvalidInput: It has no such part.
        """
        if part not in self.parts:
            raise InvalidInput(
                f"recipe {self.name!r} has no part {part!r}; it has: {', '.join(self.parts)}",
                code="unknown_part",
            )
        return replace(
            self,
            name=f"{self.name}-{part}",
            text=0.0 if part == "text" else self.text,
            session=0.0 if part == "session" else self.session,
            leading=0.0 if part == "leading" else self.leading,
            aspects=0.0 if part == "aspects" else self.aspects,
            liking=0.0 if part == "liking" else self.liking,
            weights={f: w for f, w in self.weights.items() if f != part},
            advice={f: w for f, w in self.advice.items() if f != part},
        )

    @property
    def parts(self) -> tuple[str, ...]:
        """What takes part in the score."""
        alone = {
            "text": self.text,
            "session": self.session,
            "leading": self.leading,
            "aspects": self.aspects,
            "liking": self.liking,
        }
        named = dict.fromkeys(map(str, (*self.weights, *self.advice)))
        return (*(name for name, weight in alone.items() if weight), *named)


_PLAIN: Final[Mapping[str, Recipe]] = {
    recipe.name: recipe
    for recipe in (
        Recipe(
            "fast",
            1.25,
            {
                Feature.COSINE: 1.2,
                Feature.COSINE_NEAR: 0.8,
                Feature.SPEAKER: 2.0,
                Feature.REPLY: -1.0,
                Feature.PERSONAL: 1.4,
                Feature.CONCRETE: 1.0,
                Feature.TIME: 5.0,
            },
            session=1.0,
            leading=0.5,
            aspects=0.5,
            advice={Feature.PREFERENCE: 1.0, Feature.CONCRETE: 0.0, Feature.COSINE: 2.0},
            liking=1.0,
        ),
        Recipe("words", 1.0, {}),
        Recipe("meaning", 0.0, {Feature.COSINE: 1.0}),
    )
}

_FAST: Final = _PLAIN["fast"]
RECIPES: Final[Mapping[str, Recipe]] = {
    **_PLAIN,
    "balanced": replace(_FAST, name="balanced", dedup="sim"),
    "fine": replace(_FAST, name="fine", dedup="sim", thinks=True),
    "mixture": replace(_FAST, name="mixture", recalls=True),
}


def named(name: str | Recipe) -> Recipe:
    """Return the recipe of that name; a recipe of one's own is itself.

    Raises:
        InvalidInput: There is none; the message lists those that are.
    """
    if isinstance(name, Recipe):
        return name
    recipe = RECIPES.get(name)
    if recipe is None:
        raise InvalidInput(
            f"unknown recipe {name!r}; one of: {', '.join(RECIPES)}", code="unknown_recipe"
        )
    return recipe
