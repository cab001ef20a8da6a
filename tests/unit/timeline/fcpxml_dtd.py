"""What FCPXML 1.10 allows, as far as it is written: the attributes of elements, and the order of what is in them.

After the format's DTD, in words of our own: `required`, `allowed`, and a pattern of children's names.
"""

import re
from fractions import Fraction
from itertools import pairwise
from xml.etree import ElementTree

ANCHORED = "(?:audio |video |clip |title |caption |asset-clip |spine )*"
MARKERS = "(?:marker )*"
PLACE = {"lane", "offset", "name", "start", "duration", "enabled"}
BLEND = "(?:adjust-conform )?(?:adjust-transform )?(?:adjust-blend )?"

ELEMENTS = {
    "fcpxml": ({"version"}, set(), "(?:resources )?(?:library )"),
    "resources": (set(), set(), "(?:asset |effect |format )*"),
    "library": (set(), {"location"}, "(?:event )*"),
    "event": (set(), {"name"}, "(?:project )*"),
    "project": (set(), {"name"}, "sequence "),
    "format": ({"id"}, {"name", "frameDuration", "width", "height"}, ""),
    "asset": (
        {"id"},
        {
            "name",
            "start",
            "duration",
            "hasVideo",
            "format",
            "hasAudio",
            "videoSources",
            "audioSources",
            "audioChannels",
        },
        "(?:media-rep )+",
    ),
    "media-rep": ({"src"}, {"kind"}, ""),
    "effect": ({"id", "uid"}, {"name"}, ""),
    "sequence": ({"format"}, {"duration", "tcStart", "tcFormat", "audioLayout", "audioRate"}, "spine "),
    "spine": (set(), {"lane", "offset", "name"}, "(?:asset-clip |video |gap |transition )*"),
    "gap": ({"duration"}, {"name", "offset", "start"}, f"(?:note )?{ANCHORED}{MARKERS}"),
    "asset-clip": (
        {"ref"},
        PLACE | {"srcEnable", "audioRole", "videoRole"},
        f"(?:note )?(?:conform-rate )?(?:timeMap )?{BLEND}(?:adjust-volume )?{ANCHORED}{MARKERS}",
    ),
    "video": ({"ref", "duration"}, PLACE, f"(?:note )?{BLEND}{ANCHORED}{MARKERS}"),
    "title": ({"ref", "duration"}, PLACE, f"(?:text )*(?:text-style-def )*{BLEND}{ANCHORED}{MARKERS}"),
    "caption": ({"duration"}, PLACE | {"role"}, "(?:text )*(?:text-style-def )*"),
    "text": (set(), {"placement"}, "(?:text-style )*"),
    "text-style-def": ({"id"}, set(), "text-style "),
    "text-style": (set(), {"ref", "font", "fontSize", "fontColor", "bold", "alignment"}, ""),
    "transition": ({"duration"}, {"name", "offset"}, "(?:filter-video )?(?:filter-audio )?"),
    "filter-video": ({"ref"}, {"name"}, ""),
    "filter-audio": ({"ref"}, {"name"}, ""),
    "marker": ({"start", "value"}, {"duration"}, ""),
    "note": (set(), set(), ""),
    "conform-rate": (set(), {"scaleEnabled", "srcFrameRate"}, ""),
    "timeMap": (set(), set(), "(?:timept )*"),
    "timept": ({"time", "value"}, {"interp"}, ""),
    "adjust-conform": (set(), {"type"}, ""),
    "adjust-transform": (set(), {"position"}, ""),
    "adjust-blend": (set(), {"amount"}, "(?:param )*"),
    "adjust-volume": (set(), {"amount"}, "(?:param )*"),
    "param": ({"name"}, {"value"}, "(?:fadeIn )?(?:fadeOut )?"),
    "fadeIn": ({"duration"}, {"type"}, ""),
    "fadeOut": ({"duration"}, {"type"}, ""),
}
VALUES = {
    "enabled": "[01]", "srcEnable": "all|audio|video", "tcFormat": "DF|NDF", "type": "fit|fill|none|linear",
    "srcFrameRate": r"23\.98|24|25|29\.97|30|60|47\.95|48|50|59\.94", "audioRate": "48k", "kind": "original-media",
    "interp": "linear", "audioRole": "dialogue|music|effects", "placement": "bottom", "lane": "-?[1-9][0-9]*",
}  # fmt: skip
TIMES = {"offset", "start", "duration", "tcStart", "frameDuration", "time"}
TIME = re.compile(r"-?\d+(?:/\d+)?s")


def seconds(text):
    assert TIME.fullmatch(text), text
    return Fraction(text[:-1])


def check(text):
    """Raise AssertionError for what the format does not allow; return the root."""
    root = ElementTree.fromstring(text)
    ids = {each.get("id") for each in root.iter() if each.get("id")}
    assert len(ids) == sum(each.get("id") is not None for each in root.iter()), "an id is given twice"
    for element in root.iter():
        required, more, children = ELEMENTS[element.tag]
        assert required <= set(element.attrib) <= required | more, (element.tag, element.attrib)
        inside = "".join(f"{child.tag} " for child in element)
        assert re.fullmatch(children, inside), (element.tag, inside)
        for key, value in element.attrib.items():
            if key in TIMES:
                seconds(value)
            if key in VALUES:
                assert re.fullmatch(VALUES[key], value), (key, value)
            if key in ("ref", "format"):
                assert value in ids, value
    _check_places(root)
    return root


def _check_places(root):
    """Clips of a spine follow one another; a dissolve is centred on a cut; what hangs on a clip has a lane."""
    for spine in root.iter("spine"):
        assert not any(child.tag == "spine" for child in spine)
        items = list(spine)
        for before, item, after in zip(
            [None, *items], [*items, None], [*items[1:], None, None], strict=False
        ):
            if item is None or item.tag != "transition":
                continue
            assert (
                before is not None
                and after is not None
                and {before.tag, after.tag} <= {"asset-clip", "video"}
            )
            half = seconds(item.get("duration")) / 2
            assert seconds(item.get("offset")) + half == seconds(after.get("offset"))
        clips = [each for each in items if each.tag != "transition"]
        for before, after in pairwise(clips):
            assert seconds(before.get("offset")) + seconds(before.get("duration")) == seconds(
                after.get("offset")
            )
        assert all(each.get("lane") is None for each in items)
    for host in root.iter():
        if host.tag in ("asset-clip", "video", "gap", "title"):
            begin, lasts = seconds(host.get("start", "0s")), seconds(host.get("duration"))
            for child in host:
                if child.tag in ("asset-clip", "video", "title", "caption", "spine"):
                    assert child.get("lane") and begin <= seconds(child.get("offset")) < begin + lasts
                if child.tag == "marker":
                    assert begin <= seconds(child.get("start")) < begin + lasts
