"""A graph of ComfyUI as fields of ours: one of its videos, with its models, LoRAs, images and audio by name."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

from wan22.errors import OptionError
from wan22.fields import called
from wan22.production.comfy.drawn import Node
from wan22.production.comfy.graph import Graph, is_sampler
from wan22.production.comfy.ours import read_ours
from wan22.production.comfy.sampling import rounded, sampling
from wan22.production.comfy.widgets import IMPOSSIBLE, OURS, RUNS, TASKS
from wan22.production.imported import Import, last_of

_MODELS = ("unet_name", "ckpt_name", "model", "model_name", "gguf_name")
_OFF = "bypassed or muted"
_FILES = {  # inputs of the nodes that make latents, and what of ours they are
    "start_image": "image", "ref_image": "image", "reference_image": "image", "end_image": "last_image",
    "control_video": "pose", "pose_video": "pose", "face_video": "face", "background_video": "background",
    "character_mask": "mask", "audio_encoder_output": "audio", "pixels": "video",
}  # fmt: skip
_LOADERS = (
    ("LoadImage", "image"), ("LoadVideo", "file"), ("VHS_LoadVideo", "video"), ("LoadAudio", "audio"),
)  # fmt: skip
_PARTS = (
    ("CLIPLoader", "clip_name", "text"), ("VAELoader", "vae_name", "vae"),
    ("AudioEncoderLoader", "audio_encoder_name", "audio"), ("CLIPVisionLoader", "clip_name", "image"),
)  # fmt: skip


def from_graph(graph: Graph, asked: Sequence[str] = ()) -> Import:
    """What a graph asks for. asked: which of its videos, by the id of a node that saves or samples; and values of nodes
    in place of its own, such as "129=true".

    Raises OptionError for a node that is not there.
    """
    found = Import("comfyui")
    _set(graph, asked)
    videos = graph.videos()
    chosen = _chosen(found, graph, videos, asked)
    chain = videos.get(chosen, [])
    if not chain:
        found.notes.append("the graph has no sampler that is known here")
        _without_sampler(found, graph)
    if chain and chain[-1].kind in OURS:
        read_ours(found, graph, chain[-1])
        for name in ("image", "last_image", "video", "audio", "pose", "face", "background", "mask"):
            _file(found, graph, chain[-1], (name, name))
        _left(found, graph, chosen, videos)
        return found
    experts = _experts(graph, chain)
    for place, sampler in enumerate(chain):
        expert = ("high", "low")[min(place, 1)] if experts else None
        if experts or place == 0:
            _chain(found, graph, sampler, expert)
    if chain:
        sampling(found, graph, chain, experts)
        _texts(found, graph, chain[0])
        _latents(found, graph, chain, graph.nodes.get(chosen))
        _canvas(found, graph, chain, graph.nodes.get(chosen))
    _left(found, graph, chosen, videos)
    return found


def _cannot(found: Import, why: str) -> None:
    """Say why the workflow cannot be made here, if nothing was said yet."""
    found.impossible = found.impossible or f"the workflow {why}; wan22 runs {RUNS}"


def _without_sampler(found: Import, graph: Graph) -> None:
    service = next((node for node in graph.nodes.values() if node.kind.endswith("Api")), None)
    if service is not None:
        _cannot(found, f"asks a service on the network for its video (node {service.id}, {service.kind})")
    elif graph.off:
        first = next(iter(graph.off))
        found.impossible = (
            f"every video of the workflow is {_OFF}: {called('workflow_node')} {first} makes it"
        )
    else:
        _cannot(found, "has no sampler that is known here")


def _set(graph: Graph, asked: Sequence[str]) -> None:
    """Put the values that are asked for in the place of the graph's own."""
    for text in asked:
        name, given, value = text.partition("=")
        if not given:
            continue
        node = graph.nodes[_find(graph, name)]
        key = next((each for each in ("value", *node.inputs) if each in node.inputs), None)
        if key is None:
            raise OptionError(
                f"{called('workflow_node')} {text}: the node {name} ({node.kind}) holds no value"
            )
        try:
            node.inputs[key] = json.loads(value)
        except ValueError:
            node.inputs[key] = value


def _find(graph: Graph, name: str) -> str:
    """The id of a node, which may be named by its last part within a subgraph."""
    same = [id for id in graph.nodes if id == name] or [
        id for id in graph.nodes if id.rpartition(":")[2] == name
    ]
    if len(same) == 1:
        return same[0]
    rule = f"it is in several subgraphs: {', '.join(same[:6])}" if same else "the workflow has no such node"
    raise OptionError(f"{called('workflow_node')} {name}: {rule}")


def _chosen(found: Import, graph: Graph, videos: dict[str, list[Node]], asked: Sequence[str]) -> str:
    """The video that is made: the one that is asked for, or the first; the others are said."""
    others = {id: _name(graph, id) for id in videos} | {
        id: f"{kind}, {_OFF}" for id, kind in graph.off.items()
    }
    wanted = next((each for each in asked if "=" not in each), None)
    if wanted is None:
        chosen = next(iter(videos), "")
    else:
        node = graph.nodes[_find(graph, wanted)]
        behind = {each.id for each in graph.behind(node)}
        able = [
            id for id, chain in videos.items() if id == node.id or any(each.id in behind for each in chain)
        ]
        if not able:
            raise OptionError(
                f"{called('workflow_node')} {wanted}: no video comes from this node ({node.kind}). Those that do: "
                + ", ".join(others)
            )
        chosen = node.id if node.id in able else able[0]
    found.videos = {id: what for id, what in others.items() if id != chosen}
    if found.videos and chosen:
        rest = ", ".join(f"{id} ({what})" for id, what in list(found.videos.items())[:8])
        found.note(
            f"of several videos in the workflow, that of node {chosen} ({_name(graph, chosen)}) is made; "
            f"{called('workflow_node')} ID makes another: {rest}"
        )
    return chosen


def _name(graph: Graph, id: str) -> str:
    node = graph.nodes.get(id)
    return "" if node is None else (node.title or node.kind)


def _experts(graph: Graph, chain: list[Node]) -> bool:
    """Whether the samplers of a video are the two experts in turn, rather than clips one after another."""
    return len(chain) > 1 and not any(_conditions(graph, each) == "s2v" for each in chain[1:])


def _conditions(graph: Graph, sampler: Node) -> str | None:
    """What the node that a sampler's latents come from makes, as `TASKS`."""
    return next((TASKS[node.kind] for node in graph.latents(sampler) if node.kind in TASKS), None)


def _chain(found: Import, graph: Graph, sampler: Node, expert: str | None) -> None:
    """What stands before the `model` of a sampler: its network, LoRAs, shift."""
    loras: list[tuple[str, float]] = []
    guider = graph.source(sampler, "guider")
    for node in graph.upstream(sampler if guider is None else guider, ("model",)):
        if node.kind.startswith("LoraLoader") or node.kind.startswith("WanVideoLoraSelect"):
            name = graph.value(node, "lora_name") or graph.value(node, "lora")
            said = graph.value(node, "strength_model"), graph.value(node, "strength")
            strength = next((value for value in said if isinstance(value, (int, float))), 1.0)
            if isinstance(name, str) and name.lower() != "none":
                loras.append((name, rounded(float(strength))))
        loras += _listed(graph, node)
        for key in _MODELS:
            if isinstance(name := graph.value(node, key), str):
                found.parts.setdefault(expert or "dit", name)
                if last_of(name) not in found.models:
                    found.models.append(last_of(name))
        if node.kind in ("ModelSamplingSD3", "ModelSamplingAuraFlow"):
            shift = rounded(graph.value(node, "shift"))
            if found.request.get("shift", shift) != shift:
                found.leave(f"{node.kind} {node.id}: shift", shift)
                found.note(f"the experts have different shifts; wan22 has one: {found.request['shift']:g}")
            found.say("shift", shift)
    for name, strength in loras:
        found.loras.append((last_of(name), strength, expert))
        found.lora_names.append(name)


def _listed(graph: Graph, node: Node) -> Iterator[tuple[str, float]]:
    """LoRAs that a node holds in a list, as rgthree's Power Lora Loader: those that are on."""
    for key, value in node.inputs.items():
        name = value.get("lora") if isinstance(value, dict) else None
        if not isinstance(value, dict) or not isinstance(name, str):
            continue
        graph.read.add((node.id, key))
        strength = value.get("strength", 1.0)
        if value.get("on", True) and name.lower() != "none" and isinstance(strength, (int, float)):
            yield name, rounded(float(strength))


def _texts(found: Import, graph: Graph, sampler: Node) -> None:
    for ours, names in (
        ("prompt", ("positive", "positive_prompt")),
        ("negative", ("negative", "negative_prompt")),
    ):
        ways = (names[0], "text_embeds", "conditioning", "cond", "guider")
        for node in [sampler, *graph.upstream(sampler, ways)]:
            keys = (names[1],) if "positive_prompt" in node.inputs else ("text", "prompt", "t5xxl")
            text = next((v for key in keys if isinstance(v := graph.value(node, key), str)), None)
            if text is not None:
                if ours == "prompt" or text.strip():
                    found.say(ours, text)
                break


def _latents(found: Import, graph: Graph, chain: list[Node], save: Node | None) -> None:
    """What is made, from what, and the models beside the network; or why it is impossible."""
    before = [node for node in graph.latents(chain[0]) if not is_sampler(node)]
    behind = list(graph.behind(chain[-1] if save is None else save))
    other = next((node for node in behind if node.kind in IMPOSSIBLE), None)
    if other is not None:
        family = IMPOSSIBLE[other.kind]
        _cannot(found, f"makes its video with {family} (node {other.id}, {other.kind}), another model")
    elif before and before[-1].kind not in TASKS and "Wan" not in before[-1].kind:
        _cannot(
            found, f"makes latents with {before[-1].kind} (node {before[-1].id}), which is no node of Wan2.2"
        )
    found.task = _conditions(graph, chain[0])
    _clip_vision(found, graph, before)
    if found.task == "s2v":
        found.say("clips", len(chain))
    for node in behind:
        for kind, key, part in _PARTS:
            if part == "image" and found.task != "animate":
                continue  # no other network reads it
            if node.kind.startswith(kind) and isinstance(name := graph.value(node, key), str):
                found.parts.setdefault(part, name)
        said = graph.value(node, "type") if node.kind.startswith(("CLIPLoader", "DualCLIPLoader")) else "wan"
        if said not in ("wan", None):
            _cannot(found, f"has a text encoder of the type {said!r} (node {node.id}), another model family")
        if node.kind in TASKS:
            for name, ours in _FILES.items():
                _file(found, graph, node, (name, ours))
    if found.task == "animate":
        _driving(found)


def _clip_vision(found: Import, graph: Graph, before: list[Node]) -> None:
    """An image that CLIP Vision reads is of Wan2.1's I2V, or of Animate; Wan2.2's I2V pays no attention to it."""
    for node in before:
        names = [name for name in node.inputs if name.startswith("clip_vision") and graph.source(node, name)]
        if not names or found.task != "i2v" or found.impossible is not None:
            continue
        if any("2.2" in name or "2_2" in name for name in found.models):
            found.note(f"{names[0]} of node {node.id} is left out: Wan2.2's networks do not read it")
        else:
            _cannot(
                found, f"reads its image with CLIP Vision (node {node.id}, {names[0]}), as Wan2.1's models do"
            )


def _file(found: Import, graph: Graph, node: Node, which: tuple[str, str]) -> None:
    """The file that an input of a node that makes latents comes from."""
    name, ours = which
    for source in graph.upstream(node, (name,)):
        if is_sampler(source):
            found.note(
                f"the {ours} of node {node.id} is another video of the workflow, which is not made; give it"
            )
            return
        for kind, key in _LOADERS:
            if source.kind == kind and isinstance(said := graph.value(source, key), str):
                _keep(found, ours, said)
                return


def _keep(found: Import, ours: str, said: str) -> None:
    if ours not in found.files:
        found.files[ours], found.paths[ours] = last_of(said), said


def _driving(found: Import) -> None:
    """Animate's videos, if all are made from one: then wan22 prepares it itself."""
    names = ("pose", "face", "background", "mask")
    said = {found.paths[name] for name in names if name in found.paths}
    if len(said) != 1:
        return
    replaced = "background" in found.files or "mask" in found.files
    for name in names:
        found.files.pop(name, None)
        found.paths.pop(name, None)
    _keep(found, "video", said.pop())
    if replaced:
        found.say("replace", True)
    found.note("pose, face and mask are drawn from the driving video by wan22's own preprocessing")


def _canvas(found: Import, graph: Graph, chain: list[Node], save: Node | None) -> None:
    behind = [node for each in reversed(chain) for node in graph.behind(each)]
    tail = [] if save is None else list(graph.behind(save))
    follows = found.task in ("s2v", "animate")  # it is as long as what drives it
    for node in behind if any(node.kind in TASKS for node in behind) else graph.nodes.values():
        width, height = graph.value(node, "width"), graph.value(node, "height")
        length = graph.value(node, "length") or graph.value(node, "num_frames")
        if isinstance(width, int) and isinstance(height, int) and isinstance(length, int):
            found.say("size", [width, height])
            if not follows:
                found.say("frames", length, "length")
            count = graph.value(node, "batch_size")
            if isinstance(count, int) and count > 1:
                found.say("count", count, "batch_size")
            if node.kind == "WanAnimateToVideo":
                found.say("carried", graph.value(node, "continue_motion_max_frames"))
    for node in tail or graph.nodes.values():
        if "video" in node.kind.lower() or node.kind.startswith("Save"):
            rate = rounded(graph.value(node, "fps") or graph.value(node, "frame_rate"))
            found.say("fps", rate if isinstance(rate, (int, float)) and not isinstance(rate, bool) else None)
    for node in tail or graph.nodes.values():
        for (kind, key), ours in zip(_LOADERS, ("image", "video", "video", "audio"), strict=True):
            if node.kind == kind and isinstance(name := graph.value(node, key), str):
                if name not in found.paths.values():
                    _keep(found, "last_image" if graph.feeds(node, "end_image") else ours, name)


def _left(found: Import, graph: Graph, chosen: str, videos: dict[str, list[Node]]) -> None:
    """What nothing has read, of the nodes of this video; and what its switches leave out."""
    mine = {node.id for node in _ends(graph, chosen, videos)}
    others = {node.id for id in videos if id != chosen for node in _ends(graph, id, videos)}
    unchosen: set[str] = set()
    for node, on in graph.switches():
        other = graph.source(node, "on_false" if on else "on_true")
        behind = {each.id for each in graph.behind(other)} - mine if other is not None else set()
        for each in sorted(behind):
            if graph.nodes[each].kind.startswith("LoraLoader"):
                found.note(
                    f"left out, because the switch {node.title or node.id} is {'on' if on else 'off'}: "
                    f"{graph.value(graph.nodes[each], 'lora_name')} (node {each})"
                )
        unchosen |= behind
        graph.read.add((node.id, "switch"))
    if unchosen:
        for node, on in _booleans(graph):
            found.note(
                f"{node.title or node.kind} is {'on' if on else 'off'}: {called('workflow_node')} "
                f"{node.id}={'false' if on else 'true'} makes the other variant"
            )
    for node, name in graph.rest(frozenset((others | unchosen) - mine)):
        found.leave(f"{node.kind} {node.id}: {name}", node.inputs[name])


def _ends(graph: Graph, id: str, videos: dict[str, list[Node]]) -> Iterator[Node]:
    for end in [graph.nodes[id], *videos.get(id, [])] if id in graph.nodes else []:
        yield from graph.behind(end)


def _booleans(graph: Graph) -> Iterator[tuple[Node, bool]]:
    """The values that the switches follow."""
    seen = set()
    for node, on in graph.switches():
        source = graph.source(node, "switch")
        if source is not None and source.id not in seen:
            seen.add(source.id)
            yield source, on
