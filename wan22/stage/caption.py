"""How people say a shot: many phrasings for every label, some axes left unsaid, in changing order and length.

Phrases of the official vocabulary ("Night time", "Warm colors", "Close-up shot"...) are among them.
It knows words only; what a label looks like is `scene.py`.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from wan22.stage.labels import Shot

LEFT_OUT = 0.15
"""Share of captions in which an axis is not said (never shape, colour and action)."""

_SHAPE = {
    "ball": ("ball", "ball", "sphere", "round ball"),
    "cube": ("cube", "cube", "box", "block"),
    "cone": ("cone", "cone", "pointed cone", "pylon"),
}
_COLOUR = {
    "red": ("red", "red", "crimson", "scarlet", "bright red"),
    "orange": ("orange", "orange", "bright orange", "tangerine"),
    "yellow": ("yellow", "yellow", "bright yellow", "golden yellow", "lemon"),
    "green": ("green", "green", "emerald", "bright green", "emerald green"),
    "blue": ("blue", "blue", "royal blue", "azure", "bright blue"),
    "purple": ("purple", "purple", "violet", "bright purple"),
}
_SIZE = {
    "small": ("small", "small", "little", "tiny"),
    "large": ("large", "large", "big", "huge"),
}
_SURROUNDINGS = {
    "meadow": ("in a meadow", "on a green meadow", "in a grassy field", "on the grass", "on a lawn"),
    "desert": (
        "in the desert",
        "on the sand",
        "in a sandy desert",
        "on desert sand",
        "among cacti in the desert",
    ),
    "snow": ("in the snow", "on snow", "in a snowy landscape", "on snowy ground", "in a white winter field"),
}
_TIME = {
    "day": ("by day", "in daylight", "during the day", "under a blue sky", "in the daytime", "at noon"),
    "sunset": ("at sunset", "at dusk", "in the golden hour", "in the evening", "under a sunset sky"),
    "night": ("at night", "by moonlight", "on a moonlit night", "under the moon", "in the dark of night"),
}
_TIME_TAG = {
    "day": ("Day time", "Daylight", "Sunny lighting", "Daytime"),
    "sunset": ("Sunset", "Sunset time", "Golden hour", "Dusk"),
    "night": ("Night time", "Moonlight", "Night", "Moonlit night"),
}
_LIGHT = (
    "lit from the {}",
    "with light from the {}",
    "the light coming from the {}",
    "with the {} on the {}",
)
_LIGHT_SENTENCE = (
    "The light comes from the {}",
    "Light falls in from the {}",
    "The {source} stands on the {}",
    "It is lit from the {}",
)
_LIGHT_TAG = ("Side lighting from the {}", "Light from the {}", "{source} on the {}")
_TONE = {
    "warm": ("in warm colors", "in warm tones", "with a warm tone", "in a warm palette"),
    "cool": ("in cool colors", "in cool tones", "with a cool tone", "in a cold palette"),
}
_TONE_SENTENCE = {
    "warm": ("The colors are warm", "The picture has a warm tone", "Everything is in warm tones"),
    "cool": ("The colors are cool", "The picture has a cool tone", "Everything is in cool tones"),
}
_TONE_TAG = {
    "warm": ("Warm colors", "Warm tones", "Warm color tone", "Warm"),
    "cool": ("Cool colors", "Cool tones", "Cool color tone", "Cold colors"),
}
_SHOT = {
    "close-up": ("A close-up of", "A close-up shot of", "Close-up of", "A close view of"),
    "medium": ("A medium shot of", "Medium shot of", "A mid shot of"),
    "wide": ("A wide shot of", "Wide shot of", "A long shot of", "A distant view of"),
}
_SHOT_TAG = {
    "close-up": ("Close-up shot", "Close-up", "Close shot"),
    "medium": ("Medium shot", "Medium", "Mid shot"),
    "wide": ("Wide shot", "Wide", "Long shot"),
}
_CAMERA = {
    "static": (
        "The camera is static",
        "The camera does not move",
        "The camera holds still",
        "A fixed camera",
        "Static camera",
    ),
    "pan left": (
        "The camera pans left",
        "The camera pans to the left",
        "The camera turns left",
        "Pan to the left",
    ),
    "pan right": (
        "The camera pans right",
        "The camera pans to the right",
        "The camera turns right",
        "Pan to the right",
    ),
    "dolly in": (
        "The camera dollies in",
        "The camera pushes in",
        "The camera moves closer",
        "Slow push in",
        "The camera moves in",
    ),
    "dolly out": (
        "The camera dollies out",
        "The camera pulls back",
        "The camera moves away",
        "Slow pull back",
        "The camera moves back",
    ),
}
_CAMERA_TAG = {
    "static": ("static camera", "fixed camera", "static shot"),
    "pan left": ("pan left", "camera pans left", "camera turns left"),
    "pan right": ("pan right", "camera pans right", "camera turns right"),
    "dolly in": ("dolly in", "push in", "camera moves closer"),
    "dolly out": ("dolly out", "pull back", "camera moves away"),
}
_ACTION = {
    "still": ("stands still", "does not move", "rests motionless", "lies still", "stays where it is"),
    "roll left": ("{} left", "{} to the left", "{} from right to left", "{} toward the left"),
    "roll right": ("{} right", "{} to the right", "{} from left to right", "{} toward the right"),
    "bounce": ("bounces", "bounces up and down", "jumps up and down", "hops", "keeps bouncing"),
    "spin": ("spins", "spins in place", "turns around itself", "rotates", "spins on the spot"),
    "collide": (
        "is hit by another ball",
        "collides with another ball",
        "is struck by a second ball",
        "is pushed by a ball that rolls into it",
    ),
}
_DOING = {
    "still": ("standing still", "not moving", "resting motionless"),
    "roll left": ("{} left", "{} to the left"),
    "roll right": ("{} right", "{} to the right"),
    "bounce": ("bouncing", "bouncing up and down", "jumping up and down", "hopping"),
    "spin": ("spinning", "spinning in place", "rotating", "turning around itself"),
    "collide": ("hit by another ball", "colliding with another ball", "struck by a second ball"),
}
_GO = {"ball": ("rolls", "rolls", "moves", "travels"), "other": ("slides", "glides", "moves", "travels")}
_GOING = {"ball": ("rolling", "rolling", "moving"), "other": ("sliding", "gliding", "moving")}


def full_caption(shot: Shot) -> str:
    """The plain canonical caption: every axis, one fixed order and wording."""
    verb = "rolls" if shot.shape == "ball" else "slides"
    return (
        f"{_SHOT[shot.shot][1]} a {shot.size} {shot.colour} {shot.shape} "
        f"{_SURROUNDINGS[shot.surroundings][0]} {_TIME[shot.time][0]}, lit from the {shot.light}, "
        f"{_TONE[shot.tone][0]}. The {shot.shape} {_ACTION[shot.action][0].format(verb)}. "
        f"{_CAMERA[shot.camera][0]}."
    )


def caption(shot: Shot, rng: random.Random) -> str:
    """One of many natural captions of `shot`; shape, colour and action are always said."""
    said = {
        axis
        for axis in ("size", "surroundings", "time", "light", "tone", "shot", "camera")
        if rng.random() >= LEFT_OUT
    }
    form = rng.choices((_tags_first, _prose, _title, _keywords), weights=(3, 4, 3, 2))[0]
    return form(shot, said, rng)


def held_out_caption(shot: Shot, rng: random.Random) -> str:
    """A caption in a phrasing that `caption` never makes, of words that it uses. Every axis is said."""
    thing = _thing(shot, {"size"}, rng)
    place, time = rng.choice(_SURROUNDINGS[shot.surroundings]), rng.choice(_TIME[shot.time])
    tone, view = rng.choice(_TONE[shot.tone]), rng.choice(_SHOT_TAG[shot.shot]).lower()
    move, doing = rng.choice(_CAMERA_TAG[shot.camera]), _doing(shot, rng)
    light = _source(shot).lower()
    forms = (
        f"{_upper(time)} and {place}, {_article(thing)} is {doing}, the {light} on the {shot.light}. "
        f"The view is a {view} {tone}, the camera: {move}.",
        f"Camera: {move}. Picture: {view}, {tone}. Light: {shot.light}. "
        f"{_upper(place)} {time}: {_article(thing)}, {doing}.",
        f"It is {_article(thing)} {place}, {doing} {time}; light from the {shot.light} falls on it, "
        f"{tone}, {view}, {move}.",
    )
    return rng.choice(forms)


def _tags_first(shot: Shot, said: set[str], rng: random.Random) -> str:
    """The official style: aesthetic tags, then the scene."""
    tags = _tags(shot, said - {"camera", "surroundings", "size"}, rng)
    rng.shuffle(tags)
    place = " " + rng.choice(_SURROUNDINGS[shot.surroundings]) if "surroundings" in said else ""
    scene = f"{_upper(_article(_thing(shot, said, rng)))} {_does(shot, rng)}{place}."
    camera = f" {rng.choice(_CAMERA[shot.camera])}." if "camera" in said else ""
    return f"{', '.join(tags)}. {scene}{camera}" if tags else scene + camera


def _prose(shot: Shot, said: set[str], rng: random.Random) -> str:
    """A sentence about the subject, then short ones about the rest in any order."""
    where = [rng.choice(_SURROUNDINGS[shot.surroundings])] if "surroundings" in said else []
    if "time" in said:
        where.append(rng.choice(_TIME[shot.time]))
    rng.shuffle(where)
    first = " ".join([_article(_thing(shot, said, rng)), _does(shot, rng), *where])
    if where and rng.random() < 0.3:
        first = f"{' '.join(where)}, {_article(_thing(shot, said, rng))} {_does(shot, rng)}"
    rest = []
    if "light" in said:
        rest.append(_fill(rng.choice(_LIGHT_SENTENCE), shot))
    if "tone" in said:
        rest.append(rng.choice(_TONE_SENTENCE[shot.tone]))
    if "shot" in said:
        rest.append(rng.choice(_SHOT_TAG[shot.shot]))
    if "camera" in said:
        rest.append(rng.choice(_CAMERA[shot.camera]))
    rng.shuffle(rest)
    return " ".join(f"{_upper(part)}." for part in [first, *rest])


def _title(shot: Shot, said: set[str], rng: random.Random) -> str:
    """One flowing sentence: "A wide shot of a ... , lit from ..., in ...; the camera ..."."""
    parts = [_doing(shot, rng)]
    for axis, table in (("surroundings", _SURROUNDINGS), ("time", _TIME)):
        if axis in said:
            parts.append(rng.choice(table[getattr(shot, axis)]))
    head = _article(_thing(shot, said, rng))
    if "shot" in said:
        head = f"{rng.choice(_SHOT[shot.shot])} {head}"
    tail = []
    if "light" in said:
        source = _source(shot).lower()
        light = rng.choice(_LIGHT)
        tail.append(light.format(source, shot.light) if light.count("{}") == 2 else light.format(shot.light))
    if "tone" in said:
        tail.append(rng.choice(_TONE[shot.tone]))
    if "camera" in said:
        tail.append(_lower(rng.choice(_CAMERA[shot.camera])))
    rng.shuffle(tail)
    return _upper(", ".join([" ".join([head, *parts]), *tail])) + "."


def _keywords(shot: Shot, said: set[str], rng: random.Random) -> str:
    """What people type in a hurry: fragments and commas, in any order."""
    parts = [f"{_thing(shot, said, rng)} {_doing(shot, rng)}", *_tags(shot, said, rng)]
    if rng.random() < 0.5:
        rng.shuffle(parts)
    return ", ".join(part.lower() for part in parts)


def _tags(shot: Shot, said: set[str], rng: random.Random) -> list[str]:
    tables = {
        "time": _TIME_TAG, "tone": _TONE_TAG, "shot": _SHOT_TAG, "camera": _CAMERA_TAG,
        "surroundings": _SURROUNDINGS,
    }  # fmt: skip
    tags = [rng.choice(table[getattr(shot, axis)]) for axis, table in tables.items() if axis in said]
    return tags + ([_fill(rng.choice(_LIGHT_TAG), shot)] if "light" in said else [])


def _thing(shot: Shot, said: set[str], rng: random.Random) -> str:
    size = [rng.choice(_SIZE[shot.size])] if "size" in said else []
    return " ".join([*size, rng.choice(_COLOUR[shot.colour]), rng.choice(_SHAPE[shot.shape])])


def _does(shot: Shot, rng: random.Random) -> str:
    return rng.choice(_ACTION[shot.action]).format(_pick(_GO, shot, rng))


def _doing(shot: Shot, rng: random.Random) -> str:
    return rng.choice(_DOING[shot.action]).format(_pick(_GOING, shot, rng))


def _pick(table: dict[str, Sequence[str]], shot: Shot, rng: random.Random) -> str:
    return rng.choice(table["ball" if shot.shape == "ball" else "other"])


def _source(shot: Shot) -> str:
    return "Moon" if shot.time == "night" else "Sun"


def _fill(phrase: str, shot: Shot) -> str:
    source = _source(shot)
    return phrase.format(shot.light, source=source if phrase.startswith("{source}") else source.lower())


def _article(thing: str) -> str:
    return f"{'an' if thing[0] in 'aeiou' else 'a'} {thing}"


def _upper(text: str) -> str:
    return text[0].upper() + text[1:]


def _lower(text: str) -> str:
    return text[0].lower() + text[1:]
