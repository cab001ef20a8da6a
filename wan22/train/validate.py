"""Videos of a run at fixed seeds: made by the engine, with the experts as they are at this step."""

from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import torch
from torch import nn

from wan22.catalog import Variant
from wan22.engine import Engine
from wan22.errors import OptionError, Wan22Error
from wan22.inputs import AUDIO_RATE
from wan22.media.audio import read_audio
from wan22.media.image import read_image
from wan22.media.writer import VideoWriter
from wan22.request import resolve
from wan22.train.experts import Experts
from wan22.train.recipe import Recipe
from wan22.train.world import ALONE, World
from wan22.types import Finished, Frames, Latents, Request


def requests(recipe: Recipe, variant: Variant) -> list[Request]:
    """What is asked of the engine, one request for each prompt. Raises OptionError for what the model cannot be asked.

    Images and audio are read here, so that a missing one is said before the run.
    """
    part, data = recipe.validation, recipe.data
    if part.every and variant.image_required and not part.images:
        raise OptionError(f"{variant.name} needs images: validation.images, one for each prompt")
    if part.every and variant.speech is not None and not part.audio:
        raise OptionError(f"{variant.name} needs audio: validation.audio, one for each prompt")
    made = []
    for i, prompt in enumerate(part.prompts):
        audio = read_audio(recipe.path(part.audio[i]), rate=AUDIO_RATE) if part.audio else None
        made.append(
            Request(
                prompt=prompt,
                image=read_image(recipe.path(part.images[i])) if part.images else None,
                audio=audio,
                clips=1 if audio is not None else None,
                size=data.size,
                frames=None if audio is not None else max(data.frames),
                fps=data.fps,
                steps=part.steps,
                seed=part.seed + i,
            )
        )
    return made


def show(
    engine: Engine,
    experts: Experts,
    asked: list[Request],
    folder: Path,
    *,
    stop: Callable[[], bool],
    world: World = ALONE,
) -> list[Path]:
    """Make the videos of a moment in `folder` and return their files; fewer if `stop` says so meanwhile.

    The expert at work afterwards is the one that the last video needed last; the caller wakes whom it wants.
    """
    world.first(lambda: folder.mkdir(parents=True, exist_ok=True))
    made = []
    with _lent(engine, experts):
        for i, request in enumerate(asked):
            path = folder / f"{i:02}.mp4"
            if world.agreed(path.is_file()):
                continue  # made before the run was stopped; it is the same video
            if not world.agreed((_video if world.leads else _follow)(engine, request, path, stop)):
                break
            made.append(path)
    return made


def _video(engine: Engine, request: Request, path: Path, stop: Callable[[], bool]) -> bool:
    canvas = engine.check(request)
    with VideoWriter(path, fps=canvas.fps, size=canvas.out) as writer:
        sampling = True
        for event in engine.generate(request):
            if sampling and stop():
                writer.abort()
                return False
            if isinstance(event, Latents):
                sampling = False  # nobody else decodes: from here on there is nobody to be asked
            elif isinstance(event, Frames):
                writer.add(event.frames)
            elif isinstance(event, Finished):
                writer.close(event.recipe)
    return True


def _follow(engine: Engine, request: Request, path: Path, stop: Callable[[], bool]) -> bool:
    """Take part in the steps of a video that the leader makes."""
    return not any(stop() or isinstance(event, Latents) for event in engine.generate(request))


@contextmanager
def _lent(engine: Engine, experts: Experts) -> Generator[None]:
    """Let the engine draw with the experts of the run; each is as it would be handed out while it is drawn with."""
    with ExitStack() as active:

        def bring(name: str) -> Callable[[torch.device], nn.Module]:
            def load(device: torch.device) -> nn.Module:
                active.close()  # the one before goes back to training before it goes to rest
                return active.enter_context(experts.activate(name).for_inference())

            return load

        for name in experts.steps:
            engine.show(name, bring(name))
        try:
            yield
        finally:
            engine.release()


def check_requests(asked: list[Request], variant: Variant) -> None:
    """Raise OptionError, naming the prompt, for what the engine cannot make."""
    for request in asked:
        try:
            resolve(request, variant)
        except Wan22Error as error:
            raise OptionError(f"the validation video {request.prompt!r} cannot be made: {error}") from error
