"""Random timelines that are right: for the formats of editors, which must keep them or say what they lose."""

from fractions import Fraction

from hypothesis import strategies as st

from wan22.timeline.document import read
from wan22.timeline.items import whole_frames

RATES = [(24, 1), (25, 1), (30, 1), (16, 1), (24000, 1001), (30000, 1001), (60000, 1001), (25, 2)]
TEXT = st.text(st.characters(codec="utf-8"), max_size=12)
LINE = st.text("ab 가한漢あ&<>\"'{}\\%-", min_size=1, max_size=12)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(-1e6, 1e6) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)


def clip(draw, name, rate, kind):
    source = Fraction(*draw(st.sampled_from(RATES)))
    still = kind == "video" and draw(st.integers(0, 9)) == 0
    frames = draw(st.integers(2, 300))
    start = draw(st.integers(0, frames - 1))
    end = draw(st.integers(start + 1, frames))
    speed = draw(
        st.sampled_from([Fraction(1)] * 4 + [Fraction(1, 2), Fraction(3, 2), Fraction(4), Fraction(2, 3)])
    )
    duration = whole_frames(end - start, source, rate, speed)
    fade_in = draw(st.sampled_from([0, 0, duration // 3]))
    audio = kind == "audio" or draw(st.booleans())
    media = draw(
        st.sampled_from(
            [{"path": f"{name} 가.mp4"}, {"job": "job_1", "file": f"{name}.mp4"}, {"input": "in_1"}]
        )
    )
    takes = draw(
        st.sampled_from([[], [], [media, {"path": "other.mp4"}], [{"path": "a.mp4"}, {"path": "b.mp4"}]])
    )
    return {
        "id": name, "type": "clip", "media": media, "name": draw(st.sampled_from(["", "ball", "공 & <cube>"])),
        "in": start, "out": end, "duration": duration, "speed": list(speed.as_integer_ratio()),
        "source": {"frames": frames, "rate": list(source.as_integer_ratio()), "audio": audio, "still": still,
                   "size": [832, 480] if kind == "video" else None},
        "fit": draw(st.sampled_from(["cover", "fit"])), "gain_db": draw(st.sampled_from([0.0, -6.0, 3.5])),
        "mute": draw(st.booleans()), "fade_in": fade_in, "fade_out": draw(st.integers(0, (duration - fade_in) // 2)),
        "enabled": draw(st.integers(0, 5)) > 0, "link": None, "takes": takes,
        "recipe": draw(st.none() | st.fixed_dictionaries({"prompt": LINE, "seed": st.integers(0, 2**64)})),
        "codec": draw(JSON),
    }  # fmt: skip


def dissolve(draw, before, after, name, rate, used):
    """A transition between two clips, or None if they have no frames for one."""
    steps = [Fraction(*c["source"]["rate"]) / rate * Fraction(*c["speed"]) for c in (before, after)]
    into = draw(st.integers(0, 8))
    out = draw(st.integers(0, 8))
    last = before["in"] + int((before["duration"] + out - 1) * steps[0] // 1)
    first = after["in"] + int(-into * steps[1] // 1)
    fits = before["source"]["still"] or last < before["source"]["frames"]
    fits = fits and (after["source"]["still"] or first >= 0) and into + out > 0
    if not fits or into + used > before["duration"] or out > after["duration"]:
        return None
    return {"id": name, "type": "transition", "kind": "dissolve", "in_offset": into, "out_offset": out}


def items(draw, track, kind, rate):
    found, used = [], 0
    for number in range(draw(st.integers(0, 4))):
        if draw(st.integers(0, 3)) == 0:
            found.append({"id": f"{track}g{number}", "type": "gap", "duration": draw(st.integers(1, 40))})
        new = clip(draw, f"{track}c{number}", rate, kind)
        if found and found[-1]["type"] == "clip" and draw(st.booleans()):
            between = dissolve(draw, found[-1], new, f"{track}t{number}", rate, used)
            used = between["out_offset"] if between else 0
            found += [between] if between else []
        else:
            used = 0
        found.append(new)
    ends = [
        {"id": f"{track}e{number}", "type": "gap", "duration": 5, "why": draw(JSON)} for number in range(2)
    ]
    return found + ends[: draw(st.integers(0, 2))]


@st.composite
def timelines(draw, rates=RATES):
    """A right timeline."""
    rate = draw(st.sampled_from(rates))
    tracks = []
    for number in range(draw(st.integers(0, 3))):
        kind = draw(st.sampled_from(["video", "video", "audio"]))
        name = f"{kind[0]}{number}"
        tracks.append(
            {"id": name, "kind": kind, "name": draw(st.sampled_from(["", "V1", "목소리"])),
             "muted": draw(st.booleans()), "locked": draw(st.booleans()), "gain_db": -3.0, "duck": None,
             "items": items(draw, name, kind, Fraction(*rate))}
        )  # fmt: skip
    if len(tracks) > 1:
        tracks[0]["duck"] = {"under": tracks[1]["id"], "by_db": 9.0}
        first = [next((i for i in t["items"] if i["type"] == "clip"), None) for t in tracks[:2]]
        if all(first) and draw(st.booleans()):
            first[0]["link"] = first[1]["link"] = "l1"
    texts = [
        {"id": f"s{n}", "from": 30 * n, "to": 30 * n + 20, "text": draw(LINE), "language": "ko"}
        for n in range(2)
    ]
    document = {
        "wan22_timeline": 1, "name": draw(st.sampled_from(["", "cut", "컷"])), "rate": list(rate), "size": [1280, 720],
        "start": draw(st.sampled_from([0, 86400])), "tracks": tracks,
        "markers": [{"id": f"m{n}", "at": draw(st.integers(0, 200)), "duration": draw(st.integers(0, 5)),
                     "name": draw(LINE), "color": draw(st.sampled_from(["red", "blue", "Teal", "Green"]))}
                    for n in range(draw(st.integers(0, 2)))],
        "titles": [{"id": "x1", "from": 0, "to": 48, "text": draw(LINE), "style": {"place": "lower"}, "fade": 6}],
        "captions": texts[: draw(st.integers(0, 2))], "in": draw(st.none() | st.just(5)), "out": None,
        "loudness": draw(st.none() | st.just(-14.0)), "meta": {"notes": draw(JSON)}, "studio": draw(JSON),
    }  # fmt: skip
    return read(document)
