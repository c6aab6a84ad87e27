"""The eight categories of questions without options.

A function of this module draws one question of its category, or returns None where the draw gave
no unambiguous one. The order of its random draws is part of the data: a change changes the splits.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from transprune.smol.asker import Asker, Question, place_of, places_of
from transprune.smol.palette import COLORS
from transprune.smol.scenes import Scene
from transprune.smol.things import SIGN, Thing

_APART = 28  # pixels by which two middles must differ for a relation
_RATIO = 1.35  # of two sizes that are compared
_FEWER_SIGNS = 0.7  # of the questions what there is that a sign would answer, dropped

# name -> axis of the middle, and the sign of (other - thing) where the answer is yes
_RELATIONS = {
    "to the left of": (0, 1),
    "to the right of": (0, -1),
    "above": (1, 1),
    "below": (1, -1),
}


def _exist(asker: Asker) -> Question | None:
    """Half of the questions are about a thing of the scene."""
    there = {thing.name for thing in asker.scene.things}
    if there and asker.rng.random() < 0.5:
        name = sorted(there)[asker.rng.integers(len(there))]
        return Question(
            "exist", "positive", asker.word("exist", name=name), "yes", _named(asker.scene, name)
        )

    alike = [name for name in asker.pool if name not in there and _similar(name, there)]
    kind = "similar" if alike and asker.rng.random() < 0.5 else "random"
    pool = alike if kind == "similar" else asker.pool
    name = pool[int(asker.rng.integers(len(pool)))]
    if name in there:
        return None
    return Question("exist", kind, asker.word("exist", name=name), "no", ())


def _similar(name: str, there: set[str]) -> bool:
    """Whether a name shares a word, other than those of flags, with one of the scene."""
    words = set(name.split()) - {"flag", "of", "with", "person"}
    return any(words & set(other.split()) for other in there)


def _what(asker: Asker) -> Question | None:
    """The name of the one thing in a ninth of the picture, or of the only thing of all."""
    scene = asker.scene
    if not scene.things:
        return None

    number = int(asker.rng.integers(len(scene.things)))
    name = scene.things[number].name
    place = place_of(scene, scene.things[number])
    # nothing else may be in that place, not even nearly
    near = [other for other in scene.things if place in places_of(scene, other)]
    if place is None or len(near) > 1 or (name == SIGN and asker.rng.random() < _FEWER_SIGNS):
        return None

    where, kind = f"at the {place}" if place != "center" else "in the center", "place"
    if len(scene.things) == 1 and asker.rng.random() < 0.5:
        where, kind = "in the picture", "only"
    return Question("what", kind, asker.word("what", place=where), name, (number,))


def _where(asker: Asker) -> Question | None:
    picked = asker.pick()
    place = None if picked is None else place_of(asker.scene, picked[1])
    if picked is None or place is None:
        return None
    return Question("where", "", asker.word("where", name=picked[2]), place, (picked[0],))


def _count(asker: Asker) -> Question | None:
    """A quarter of the questions count all things; the others a name, with the count drawn first."""
    scene = asker.scene
    if asker.rng.random() < 0.25:
        every = tuple(range(len(scene.things)))
        return Question("count", "all", asker.word("count all"), str(len(every)), every)

    counts = Counter(thing.name for thing in scene.things)
    wanted = int(asker.rng.integers(5))
    fitting = sorted(name for name, times in counts.items() if times == wanted)
    if wanted == 0:
        name = asker.pool[int(asker.rng.integers(len(asker.pool)))]
        fitting = [] if name in counts else [name]
    if not fitting:
        return None

    name = fitting[asker.rng.integers(len(fitting))]
    text = asker.word("count", name=name)
    return Question("count", "name", text, str(wanted), _named(scene, name))


def _color(asker: Asker) -> Question | None:
    picked = asker.pick()
    if picked is None or picked[1].color is None:
        return None

    number, thing, name = picked
    # "red heart" would give the answer away
    if set(COLORS) & set(name.split()):
        return None
    kind = "sign" if thing.name == SIGN else "thing"
    return Question("color", kind, asker.word("color", name=name), str(thing.color), (number,))


def _read(asker: Asker) -> Question | None:
    picked = asker.pick()
    written = None if picked is None else picked[1].word
    if picked is None or written is None:
        return None

    kind = "number" if written.isdigit() else "word"
    return Question("read", kind, asker.word("read", name=picked[2]), written, (picked[0],))


def _size(asker: Asker) -> Question | None:
    """Compare the longer sides of two things that are no signs."""
    pair = asker.pick_two()
    if pair is None:
        return None
    (first, thing, name), (second, other, other_name) = pair
    ratio = thing.size / other.size
    if SIGN in (thing.name, other.name) or 1 / _RATIO < ratio < _RATIO:
        return None

    compared = ("bigger", "smaller")[asker.rng.integers(2)]
    answer = name if (ratio > 1) == (compared == "bigger") else other_name
    text = asker.word("size", compared=compared, name=name, other=other_name)
    return Question("size", compared, text, answer, (first, second))


def _relation(asker: Asker) -> Question | None:
    """Whether one thing is left of another, or, a third of the time, which one is."""
    relation = list(_RELATIONS)[asker.rng.integers(len(_RELATIONS))]
    if asker.rng.random() < 1 / 3:
        return _relation_what(asker, relation)

    pair = asker.pick_two()
    if pair is None:
        return None
    (first, thing, name), (second, other, other_name) = pair
    distance = _distance(thing, other, relation)
    if abs(distance) < _APART:
        return None
    text = asker.word("relation", name=name, other=other_name, relation=relation)
    return Question("relation", relation, text, "yes" if distance > 0 else "no", (first, second))


def _relation_what(asker: Asker, relation: str) -> Question | None:
    """The one thing on a side of another; None where several are, or one is nearly."""
    picked = asker.pick()
    if picked is None:
        return None

    number, other, name = picked
    found = []
    for candidate, thing in enumerate(asker.scene.things):
        distance = _distance(thing, other, relation)
        if candidate != number and distance > -_APART / 2:
            found.append((candidate, thing, distance))
    if len(found) != 1 or found[0][2] < _APART:
        return None

    candidate, thing, _ = found[0]
    text = asker.word("relation what", relation=relation, other=name)
    return Question("relation", f"what {relation}", text, thing.name, (number, candidate))


def _distance(thing: Thing, other: Thing, relation: str) -> float:
    """Pixels by which a thing has a relation to another; negative if it has the opposite one."""
    axis, sign = _RELATIONS[relation]
    return sign * (other.middle[axis] - thing.middle[axis])


def _named(scene: Scene, name: str) -> tuple[int, ...]:
    """Numbers of the things with a name."""
    return tuple(number for number, thing in enumerate(scene.things) if thing.name == name)


SHORT_QUESTIONS: dict[str, Callable[[Asker], Question | None]] = {
    "exist": _exist,
    "what": _what,
    "where": _where,
    "count": _count,
    "color": _color,
    "read": _read,
    "size": _size,
    "relation": _relation,
}
