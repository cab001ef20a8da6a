"""Extend a prompt by rules: always here, the same for the same seed, and every word of the person's stays.

What is missing of the formula is added from the vocabulary, at most `MOST` tags and one movement of the camera:

    question        answer, if nothing was said of it
    time            what the light implies (moonlight, fire: night), else day
    shot size       wide for landscapes, close-up for faces, else medium or wide by the seed
    light source    by time: night, moonlight outside or practical inside; day, overcast in bad weather, else daylight
    tone            warm for sunrise, sunset and fire; cool for dawn, dusk, night and snow; else nothing
    light quality   soft
    composition     center
    camera          static or dolly in by the seed, if neither movement nor angle was said

Drawn styles get size, composition and camera only; a shot that begins with an image, whose light is there already,
the camera only.
"""

from __future__ import annotations

import random
import re
from dataclasses import dataclass
from typing import Any

from wan22.director.brief import Brief
from wan22.director.shot import ShotSpec, add_terms, parse
from wan22.director.vocabulary import term
from wan22.errors import OptionError

MOST = 4
"""Most tags that are added."""

_CUES = {
    "landscape": r"\b(?:landscapes?|mountains?|valley|canyon|deserts?|oceans?|seas?|coast|skyline|cit(?:y|ies)|"
    r"villages?|forests?|fields?|crowds?|army|planets?)\b|风景|山|海|城市|沙漠|森林|草原|풍경|산맥|바다|도시|사막|숲|"
    r"風景|街並|砂漠|草原|森",
    "face": r"\b(?:faces?|eyes?|lips|smil\w*|tears?|portraits?|expression|wink\w*)\b|脸|眼|微笑|表情|肖像|얼굴|눈물|"
    r"미소|표정|顔|瞳|笑顔",
    "inside": r"\b(?:rooms?|kitchen|office|indoors?|inside|bar|caf[eé]|hall|bedroom|library|lamps?|candles?)\b|"
    r"室内|房间|厨房|办公室|실내|방에서|부엌|사무실|部屋|台所",
    "weather": r"\b(?:rain\w*|fog\w*|mist\w*|storm\w*|cloud(?:y|s)|drizzl\w*)\b|雨|雾|阴|暴风|비가|안개|폭풍|霧|曇",
    "snow": r"\b(?:snow\w*|ice|icy|glacier|frozen)\b|雪|冰|눈밭|빙하|氷",
    "fire": r"\b(?:fire|fireplace|campfire|bonfire|candles?|torch(?:es)?)\b|篝火|蜡烛|火把|모닥불|촛불|焚き火|ろうそく",
}
_PHOTOGRAPHIC = (None, "realistic", "tilt-shift", "time-lapse")


@dataclass(frozen=True)
class RuleExtender:
    """The extender that needs nothing. It does not see images."""

    sees = False

    def extend(self, brief: Brief) -> str:
        """Return the prompt with what it lacks. Raises OptionError for a prompt that is empty or contradicts itself."""
        if not brief.prompt.strip():
            raise OptionError(
                "the rules extend words, and there are none; write a prompt, or name a chat server"
            )
        spec = parse(brief.prompt)
        cues = {name for name, words in _CUES.items() if re.search(words, brief.prompt, re.IGNORECASE)}
        added: list[str] = []
        for key in _lacking(spec, cues, brief):
            if _agrees(brief, [*added, key]):
                added.append(key)
        return add_terms(brief.prompt, [term(key) for key in added], brief.language)

    def describe(self) -> dict[str, Any]:
        """Return what the recipe keeps."""
        return {"engine": "rules"}


def _agrees(brief: Brief, keys: list[str]) -> bool:
    """Whether the prompt does not contradict these terms: two sources of light may each imply another time of day."""
    try:
        parse(add_terms(brief.prompt, [term(key) for key in keys], brief.language))
    except OptionError:
        return False
    return True


def _lacking(spec: ShotSpec, cues: set[str], brief: Brief) -> list[str]:
    """Keys of what to add, the most important first."""
    chance = random.Random(f"{brief.seed} {brief.prompt}")
    size, move = chance.choice(("medium", "wide")), chance.choice(("static", "dolly-in"))
    camera = [] if spec.camera or spec.camera_angle else [move]
    if brief.task == "i2v":
        return camera
    time = spec.time or _time(spec, cues)
    size = "wide" if "landscape" in cues else "close-up" if "face" in cues else size
    wanted = [("time", time), ("shot_size", size)]
    if spec.style in _PHOTOGRAPHIC:
        wanted += [
            ("light_source", _source(time, cues)),
            ("tone", _tone(spec, time, cues)),
            ("light_quality", "soft-light"),
        ]
    else:
        wanted = wanted[1:]
    wanted.append(("composition", "center"))
    lacking = [key for axis, key in wanted if key is not None and not spec.terms(axis)]
    return [*lacking[:MOST], *camera]


def _time(spec: ShotSpec, cues: set[str]) -> str:
    dark = {"moonlight", "firelight"} & set(spec.light_source)
    return "night" if dark or ("fire" in cues and not spec.light_source) else "day"


def _source(time: str, cues: set[str]) -> str | None:
    if "fire" in cues:
        return "firelight"
    if time == "night":
        return "practical" if "inside" in cues else "moonlight"
    if time == "day":
        return "overcast" if "weather" in cues else "daylight"
    return None


def _tone(spec: ShotSpec, time: str, cues: set[str]) -> str | None:
    if spec.saturation == "monochrome":
        return None
    if time in ("sunrise", "sunset") or "fire" in cues or "firelight" in spec.light_source:
        return "warm"
    return "cool" if time in ("dawn", "dusk", "night") or "snow" in cues else None
