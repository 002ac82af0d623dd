"""Search strategies are data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from memos.errors import InvalidInput
from memos.ports.stores import Feature


@dataclass(frozen=True, slots=True)
class Recipe:
    """A named way to search.

    Attributes:
        name: How callers ask for it.
        text: What the words' score counts; 0 leaves the lane out.
        weights: What the other features count. Scores and cosines are standardised over the
            candidates before they are weighted; the rest is taken as it is.
        session: What the session of a candidate counts: how much its candidates say together.
    """

    name: str
    text: float
    weights: Mapping[Feature, float]
    session: float = 0.0

    @property
    def meaning(self) -> bool:
        """Whether the query has to be embedded."""
        return Feature.COSINE in self.weights


RECIPES: Final[Mapping[str, Recipe]] = {
    recipe.name: recipe
    for recipe in (
        Recipe(
            "fast",
            1.3,
            {Feature.COSINE: 1.2, Feature.COSINE_NEAR: 0.8, Feature.SPEAKER: 1.0},
            session=0.5,
        ),
        Recipe("words", 1.0, {}),
        Recipe("meaning", 0.0, {Feature.COSINE: 1.0}),
    )
}


def named(name: str) -> Recipe:
    """Return the recipe of that name.

    Raises:
        InvalidInput: There is none; the message lists those that are.
    """
    recipe = RECIPES.get(name)
    if recipe is None:
        raise InvalidInput(
            f"unknown recipe {name!r}; one of: {', '.join(RECIPES)}", code="unknown_recipe"
        )
    return recipe
