"""How a teacher walks from noise to videos: its own states at every step, recorded with the engine that makes
its videos.

    FOLDER/000000.safetensors    x (n + 1, c, t, h, w) float16: the noise, and the sample after each of n steps
                                 text (s, d): the text encoder's rows of the prompt

A trajectory depends on its number alone, so that recording goes on after any end. No videos are needed: where the first
image of a video is known, it is the first image of the video before, which the teacher made.
"""

import random
import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from torch import Tensor

from wan22.atomic import swept
from wan22.engine import Engine
from wan22.errors import CheckpointError, OptionError
from wan22.files import reading
from wan22.sampling import draw_noise
from wan22.train.log import Log
from wan22.types import Latents, Progress, Request
from wan22.weights.dtypes import DTYPE_NAMES
from wan22.weights.reader import TensorInfo
from wan22.weights.writer import write_safetensors

_RECORD_AGAIN = "Remove it, and run the stage record again."


@dataclass(frozen=True)
class Recording:
    """How many trajectories, of what: shares of those that have a known first image, and of those of a single image.
    The first trained size has the share `main_size_share`, and the other sizes the rest. `steps` None is the model's
    own, as are solver, shift and guidance.
    """

    count: int
    steps: int | None = None
    image_share: float = 0.2
    single_image_share: float = 0.05
    main_size_share: float = 0.7
    seed: int = 0


@dataclass(frozen=True)
class Kind:
    """What the trajectories of a batch have in common: the shape of states, and whether the first frame is known."""

    shape: tuple[int, ...]
    known: bool


class Trajectories:
    """The trajectories of a folder; they are read as they are needed."""

    def __init__(self, folder: Path, count: int) -> None:
        self.paths = [path_of(folder, i) for i in range(count)]
        self.kinds: dict[Kind, list[int]] = {}
        for i, path in enumerate(self.paths):
            with _opened(path) as file:
                shape = tuple(file.get_slice("x").get_shape()[1:])
                known = file.metadata()["known"] == "first"
            self.kinds.setdefault(Kind(shape, known), []).append(i)

    def state(self, number: int, index: int) -> Tensor:
        """State `index` of a trajectory (0: noise; -1: the video), float32 (c, t, h, w)."""
        with _opened(self.paths[number]) as file:
            rows = file.get_slice("x")
            return rows[index % rows.get_shape()[0]].float()

    def text(self, number: int) -> Tensor:
        """The text encoder's rows of the prompt, float32 (s, d)."""
        with _opened(self.paths[number]) as file:
            return file.get_tensor("text").float()

    def draw(self, size: int, generator: torch.Generator) -> tuple[Kind, list[int]]:
        """Draw `size` trajectories of one kind, every trajectory as often as any other."""
        kinds = list(self.kinds)
        shares = torch.tensor([len(self.kinds[kind]) for kind in kinds], dtype=torch.float64)
        kind = kinds[int(torch.multinomial(shares, 1, generator=generator))]
        rows = self.kinds[kind]
        return kind, [rows[i] for i in torch.randint(len(rows), (size,), generator=generator).tolist()]


def path_of(folder: Path, number: int) -> Path:
    """The file of a trajectory."""
    return folder / f"{number:06}.safetensors"


@contextmanager
def _opened(path: Path) -> Generator[Any]:
    """An open trajectory; CheckpointError if what is read in it is damaged or missing."""
    with (
        reading(path, CheckpointError, "is damaged or missing", _RECORD_AGAIN),
        safe_open(path, "pt") as file,
    ):
        yield file


def check_teacher(engine: Engine) -> None:
    """Raise OptionError unless a prompt alone is enough for this model."""
    row = engine.variant
    if row.image_required or row.speech is not None:
        needed = "an audio file" if row.speech is not None else "an image"
        raise OptionError(
            f"{engine.name} needs {needed} for every video, and trajectories are recorded from prompts alone; "
            "distil a model that takes a prompt, such as nano, t2v-A14B or ti2v-5B"
        )


def record(
    engine: Engine, prompts: Sequence[str], plan: Recording, folder: Path, *, log: Log, until: float | None
) -> bool:
    """Record what is not there yet; return whether all is, rather than that the time `until` (monotonic) has come.

    Raises OptionError for a model that needs more than prompts, and for no prompts.
    """
    check_teacher(engine)
    if not prompts:
        raise OptionError("trajectories are recorded from prompts, and none are given")
    folder.mkdir(parents=True, exist_ok=True)
    swept(folder)
    began, made = time.monotonic(), 0
    for i in range(plan.count):
        path = path_of(folder, i)
        if path.exists():
            continue
        if until is not None and time.monotonic() > until:
            return False
        request = _request(engine, prompts, plan, folder, i)
        states = _walk(engine, request)
        text = engine.encode_text([request.prompt])[0].detach().cpu()
        known = "first" if request.image is not None else "none"
        _write(path, {"x": states.half(), "text": text}, {"known": known, "prompt": request.prompt})
        made += 1
        if made % 20 == 0 or i + 1 == plan.count:
            log(f"trajectory {i + 1}/{plan.count}  {(time.monotonic() - began) / made:.2f} s each")
    return True


def _request(engine: Engine, prompts: Sequence[str], plan: Recording, folder: Path, number: int) -> Request:
    """What trajectory `number` is of."""
    row, draw = engine.variant, random.Random(f"{plan.seed} {number}")
    first, *others = row.trained.sizes
    size = first if not others or draw.random() < plan.main_size_share else draw.choice(others)
    frames = 1 if draw.random() < plan.single_image_share else row.defaults.frames
    image_share = draw.random() < plan.image_share and row.image == "known"
    request = Request(
        prompt=prompts[number % len(prompts)],
        size=size,
        frames=frames,
        steps=plan.steps,
        seed=plan.seed * 1_000_003 + number,
    )
    if not image_share or number == 0 or frames == 1:
        return request
    with _opened(path_of(folder, number - 1)) as file:
        video, prompt = file.get_slice("x")[-1].float(), file.metadata()["prompt"]
    image = _first_image(engine, video)
    return Request(
        prompt=prompt,
        image=image,
        size=(image.shape[1], image.shape[0]),
        frames=frames,
        steps=plan.steps,
        seed=request.seed,
    )


def _first_image(engine: Engine, video: Tensor) -> np.ndarray:
    """The first frame of a video of latents (c, t, h, w), uint8 (H, W, 3)."""
    with torch.inference_mode():
        pixels = engine.vae().decode(video[None, :, :1].to(engine.device))[0, :, 0]
    return ((pixels + 1) * 127.5).round().clamp(0, 255).byte().permute(1, 2, 0).cpu().numpy()


def _walk(engine: Engine, request: Request) -> Tensor:
    """The teacher's states (n + 1, c, t, h, w) on its way to the video that is requested; nothing is decoded."""
    after = list(_states(engine, request))
    noise = draw_noise(tuple(after[0].shape), request.seed)
    return torch.stack([noise, *after])


def _states(engine: Engine, request: Request) -> Iterator[Tensor]:
    events = engine.generate(request)
    for event in events:
        if isinstance(event, Progress):
            yield event.x.float().cpu()
        if isinstance(event, Latents):
            break
    getattr(events, "close")()  # noqa: B009 - a generator, typed as an iterator


def _write(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
    infos = {
        name: TensorInfo(tuple(t.shape), DTYPE_NAMES[t.dtype], t.numel() * t.itemsize)
        for name, t in tensors.items()
    }
    write_safetensors(path, infos, lambda name: tensors[name].contiguous(), metadata)
