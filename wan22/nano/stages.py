"""Train the embedded model's next edition: the stages, their order, and what each leaves in the run's folder.

    clips/    rendered videos        latents/  videos as the VAE sees them     text/   tokenizer and text encoder
    sketch/   the high-noise expert on small videos    high/  low/  the two experts    decoder/  the VAE's decoder
    high-more/  low-more/  decoder-more/  decoder-last/    the same, gone on with
    reward-model/    reads labels off latents    reward-tuning/    both experts, tuned on its reward
    model/    the finished model, by `export`

Every stage resumes where it was stopped. `low` and `decoder` wait for no other expert: a second core may train them
beside `high`.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor

from wan22.arch import VAEArch
from wan22.atomic import write_text, written, written_folder
from wan22.catalog import EMBEDDED, from_json, to_json
from wan22.conditioning.text import Tokenizer
from wan22.errors import CheckpointError, choose
from wan22.models.vae import WanVAE
from wan22.nano.captions import composed
from wan22.nano.clips import ClipSet, clip_set
from wan22.nano.dit import DiTRecipe, train_dit
from wan22.nano.latents import LatentSet, encode_clips, latent_set
from wan22.nano.processes import mapped
from wan22.nano.puppets import puppet_pixels, sung_track
from wan22.nano.recipes import nano, nano_speech
from wan22.nano.reward_model import RewardModel, train_reward_model
from wan22.nano.reward_tuning import tune_with_reward
from wan22.nano.run import Run
from wan22.nano.state import CPU, TrainState, load_average
from wan22.nano.text_pretraining import caption_tokenizer, pretrain_text_encoder
from wan22.nano.vae import VAERecipe, train_vae
from wan22.stage.labels import sample
from wan22.stage.puppet import sample_puppets
from wan22.train.checkpoint import write_json
from wan22.train.log import Log
from wan22.weights.reader import read_json
from wan22.weights.writer import write_tensors

STAGES = (
    "clips", "latents", "text", "sketch", "high", "low", "decoder",
    "high-more", "low-more", "decoder-more", "decoder-last", "reward-model", "reward-tuning", "export",
)  # fmt: skip
_SHOWN, _SPOKEN = 3000, 600
"""Clips of videos and of puppets that the decoder learns from."""
_READ = 96_000
"""Captions that the text encoder learns to read, where they are composed ahead."""


def _all() -> tuple[nano.Videos, ...]:
    return (nano.SMALL, *nano.VIDEOS, *nano.REWARD_MODEL_VIDEOS[1:])


def run(
    stage: str, folder: Path, *, log: Log, minutes: float | None = None, device: torch.device = CPU
) -> None:
    """Run one stage, or "all" of them in order. Raises OptionError for an unknown one."""
    for each in STAGES if stage == "all" else (choose("stage", stage, STAGES),):
        log(f"stage {each}")
        do(each, Run(folder, log, minutes, device))


def do(stage: str, run: Run) -> TrainState | None:
    """Do a stage of a run; what trains a network gives its state."""
    return _RUN[stage](run)


def _videos(run: Run, videos: nano.Videos) -> ClipSet:
    on_cpu = run.device.type == "cpu"
    return clip_set(
        run.folder / "clips",
        count=run.size.count(videos.count),
        height=videos.height,
        width=videos.width,
        frames=nano.FRAMES,
        seed=videos.seed,
        batch=32 if on_cpu else 256,
        compile=on_cpu and run.size.compiled,
        device=run.device,
    )


def _clips(run: Run) -> None:
    for videos in _all():
        made = _videos(run, videos)
        run.log(f"{len(made.shots)} clips of {videos.width}x{videos.height}")


def _latents(run: Run) -> None:
    vae = _vae().to(run.device)
    for videos in _all():
        path = _latents_path(run.folder, videos)
        if not path.exists():
            encode_clips(vae, _videos(run, videos), path, batch=8 if run.device.type == "cpu" else 64)
        run.log(f"latents of videos of {videos.width}x{videos.height}")


def _text(run: Run) -> TrainState | None:
    target, size = run.folder / "text", run.size
    target.mkdir(parents=True, exist_ok=True)
    words = target / "tokenizer.json"
    if not words.exists():
        write_text(words, caption_tokenizer(nano.WORDS, nano.SEED).to_str(pretty=True))
    tokenizer = open_tokenizer(run.folder)
    ahead = None
    if size.captions:
        ahead = composed(
            target / "captions.safetensors", sample(size.count(_READ), nano.SEED), words, 1, nano.SEED,
            processes=size.processes,
        )  # fmt: skip
    state, weights = pretrain_text_encoder(
        nano.text(tokenizer.size), tokenizer, run.training / "text", steps=size.steps.get("text", nano.WORD_STEPS),
        batch=64 * size.batch, seed=nano.SEED, log=run.log, read=size.read, minutes=run.minutes, ahead=ahead,
        device=run.device,
    )  # fmt: skip
    write_tensors(run.training / "text" / "text.safetensors", weights)
    return state


def _sketch(run: Run) -> TrainState:
    start = _begin("high", run.folder)
    return _train(run, "sketch", nano.sketch(open_tokenizer(run.folder).size), start, (nano.SMALL,))


def _high(run: Run) -> TrainState:
    start = load_average(run.folder / "sketch") | text_encoder_start(run.folder)
    return _train(run, "high", nano.high(open_tokenizer(run.folder).size), start, nano.VIDEOS)


def _low(run: Run) -> TrainState:
    start = _begin("low", run.folder)
    return _train(run, "low", nano.low(open_tokenizer(run.folder).size), start, nano.VIDEOS)


def _high_more(run: Run) -> TrainState:
    start = load_average(run.folder / "high") | text_encoder_start(run.folder)
    return _train(run, "high-more", nano.high_more(open_tokenizer(run.folder).size), start, nano.VIDEOS)


def _low_more(run: Run) -> TrainState:
    start = load_average(run.folder / "low") | text_encoder_start(run.folder)
    return _train(run, "low-more", nano.low_more(open_tokenizer(run.folder).size), start, nano.VIDEOS)


def _reward_model(run: Run) -> TrainState:
    start = _under("dit.", load_average(run.folder / "low-more"))
    shown = [latents_of(run, videos) for videos in nano.REWARD_MODEL_VIDEOS]
    return train_reward_model(
        run.sized("reward-model", nano.reward_model()), shown, run.training / "reward-model",
        log=run.log, start=start, minutes=run.minutes, device=run.device,
    )  # fmt: skip


def _reward_tuning(run: Run) -> TrainState:
    reward_model = RewardModel(nano.DIT)
    reward_model.load_state_dict(load_average(run.folder / "reward-model"))
    start = text_encoder_start(run.folder)
    for name in ("high", "low"):
        expert = _under("dit.", load_average(run.folder / f"{name}-more"))
        start |= {f"{name}.{key}": value for key, value in expert.items()}
    sets = [(latents_of(run, videos), videos.share) for videos in nano.VIDEOS]
    tokenizer = open_tokenizer(run.folder)
    return tune_with_reward(
        run.sized("reward-tuning", nano.reward_tuning(tokenizer.size)), reward_model, sets, tokenizer,
        run.training / "reward-tuning", log=run.log, start=start, minutes=run.minutes, device=run.device,
    )  # fmt: skip


def _train(
    run: Run, name: str, recipe: DiTRecipe, start: dict[str, Tensor] | None, videos: Sequence[nano.Videos]
) -> TrainState:
    sets = [(latents_of(run, each), each.share) for each in videos]
    return train_dit(
        run.sized(name, recipe), sets, open_tokenizer(run.folder), run.training / name,
        log=run.log, start=start, minutes=run.minutes, device=run.device,
    )  # fmt: skip


def _begin(expert: str, folder: Path) -> dict[str, Tensor]:
    """What an expert starts from: the last edition's, reading through the new text encoder."""
    old = load_file(EMBEDDED / f"{expert}_noise_model.safetensors")
    return {f"dit.{name}": value.float() for name, value in old.items()} | text_encoder_start(folder)


def text_encoder_start(folder: Path) -> dict[str, Tensor]:
    """A run's text encoder, as a part of what a transformer is trained with. Raises CheckpointError without one."""
    path = folder / "text" / "text.safetensors"
    if not path.exists():
        raise CheckpointError(f"there is no {path}: run the stage text first")
    return {f"text.{name}": value for name, value in load_file(path).items()}


def _decoder(run: Run) -> TrainState:
    return _train_decoder(run, "decoder", nano.decoder(shipped_arch()), {})


def _decoder_more(run: Run) -> TrainState:
    start = load_average(run.folder / "decoder")
    return _train_decoder(run, "decoder-more", nano.decoder_more(shipped_arch()), start)


def _decoder_last(run: Run) -> TrainState:
    start = load_average(run.folder / "decoder-more")
    return _train_decoder(run, "decoder-last", nano.decoder_last(shipped_arch()), start)


def _train_decoder(run: Run, name: str, recipe: VAERecipe, start: dict[str, Tensor]) -> TrainState:
    return train_vae(
        run.sized(name, recipe), _shown(run), run.training / name,
        log=run.log, start=shipped_vae() | start, minutes=run.minutes, device=run.device,
    )  # fmt: skip


def _shown(run: Run) -> np.ndarray:
    """Images for the decoder, uint8 (n, T, 64, 64, 3): windows of the largest videos, then puppets."""
    path, side = run.folder / "shown.npy", nano_speech.SIZE
    if not path.exists():
        videos, spoken = _videos(run, nano.VIDEOS[0]).pixels[:_SHOWN], run.size.count(_SPOKEN)
        rng = np.random.default_rng(nano.SEED)
        corners = zip(
            rng.integers(videos.shape[2] - side + 1, size=len(videos)),
            rng.integers(videos.shape[3] - side + 1, size=len(videos)),
            strict=True,
        )
        windows = [
            video[:, y : y + side, x : x + side] for video, (y, x) in zip(videos, corners, strict=True)
        ]
        per_video = nano_speech.VIDEOS.frames // nano.FRAMES
        acted = mapped(_puppet, range(-(-spoken // per_video)), run.size.processes)
        puppets = [
            video[k * nano.FRAMES : (k + 1) * nano.FRAMES] for video in acted for k in range(per_video)
        ]
        with written(path) as part, part.open("wb") as file:
            np.save(file, np.stack(windows + puppets[:spoken]))
    return np.load(path, mmap_mode="r")


def _puppet(i: int) -> np.ndarray:
    """A video of a puppet that sings, uint8 (T, 64, 64, 3)."""
    videos = nano_speech.VIDEOS
    shot = sample_puppets(i + 1, videos.seed)[i]
    return puppet_pixels(videos, [shot], range(i, i + 1), sung_track)[0].numpy()


def _export(run: Run) -> None:
    """Write the model's own folder, which appears whole: bfloat16 weights, tokenizer and `variant.json`."""
    high, low = _experts(run.folder)
    vae = shipped_vae()
    if (run.folder / "decoder").exists():
        vae |= load_average(_last(run.folder, "decoder"))
    tokenizer = open_tokenizer(run.folder)
    parts = {
        "vae": vae,
        "text_encoder": load_file(run.folder / "text" / "text.safetensors"),
        "high_noise_model": high,
        "low_noise_model": low,
    }
    target = run.folder / "model"
    written_here = {"tokenizer.json", "variant.json", *(f"{name}.safetensors" for name in parts)}
    with written_folder(target, replace=lambda entry: entry.name in written_here) as part:
        write_text(part / "tokenizer.json", (run.folder / "text" / "tokenizer.json").read_text("utf-8"))
        for name, tensors in parts.items():
            half = {key: value.bfloat16().contiguous() for key, value in tensors.items()}
            write_tensors(part / f"{name}.safetensors", half, {"format": "pt"})
            run.log(f"{name}: {sum(t.numel() for t in half.values()) / 1e6:.2f} M parameters")
        write_json(part / "variant.json", to_json(nano.variant(shipped_arch(), tokenizer.size)))
    run.log(f"the model is in {target}")


def _experts(folder: Path) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Both experts as they went furthest, by the names of a network; of what the reward model taught them, a share."""
    high, low = (_under("dit.", load_average(_last(folder, name))) for name in ("high", "low"))
    if (folder / "reward-tuning").exists():
        taught, share = load_average(folder / "reward-tuning"), nano.REWARD_TUNED_SHARE
        high = {name: value.lerp(taught[f"high.{name}"], share) for name, value in high.items()}
        low = {name: value.lerp(taught[f"low.{name}"], share) for name, value in low.items()}
    return high, low


def _last(folder: Path, part: str) -> Path:
    """The run of a part that went furthest: the model may be looked at before the later ones have begun."""
    runs = [folder / f"{part}{more}" for more in ("-last", "-more", "")]
    return next((run for run in runs if run.exists()), runs[-1])


def shipped_arch() -> VAEArch:
    """The VAE's sizes with the mean and deviation of its latents, as the shipped row has them."""
    return from_json(read_json(EMBEDDED / "variant.json")).vae


def shipped_vae() -> dict[str, Tensor]:
    """The weights of the VAE that the package ships, float32."""
    return {name: value.float() for name, value in load_file(EMBEDDED / "vae.safetensors").items()}


def _vae() -> WanVAE:
    vae = WanVAE(shipped_arch())
    vae.load_state_dict(shipped_vae())
    return vae.eval()


def _latents_path(folder: Path, videos: nano.Videos) -> Path:
    return folder / "latents" / f"{videos.width}x{videos.height}-{videos.seed}.safetensors"


def latents_of(run: Run, videos: nano.Videos) -> LatentSet:
    """A run's videos as latents. Raises CheckpointError if they were not made.

    The shipped VAE knows its mean and deviation, so what it encoded is normalised already.
    """
    path, size = _latents_path(run.folder, videos), run.size
    if not path.exists():
        raise CheckpointError(f"there is no {path}: run the stages clips and latents first")
    zero, one = torch.zeros(nano.VAE.z), torch.ones(nano.VAE.z)
    data = latent_set(path, mean=zero, std=one, count=size.count(videos.count), seed=videos.seed)
    if not size.captions or not videos.share:
        return data
    made = composed(
        run.folder / "captions" / path.name, data.shots, run.folder / "text" / "tokenizer.json", size.captions,
        videos.seed, processes=size.processes,
    )  # fmt: skip
    return replace(data, captions=made.ids)


def open_tokenizer(folder: Path) -> Tokenizer:
    """A run's tokenizer."""
    return Tokenizer.open(folder / "text" / "tokenizer.json")


def _under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}


_RUN: dict[str, Callable[[Run], TrainState | None]] = {
    "clips": _clips,
    "latents": _latents,
    "text": _text,
    "sketch": _sketch,
    "high": _high,
    "low": _low,
    "decoder": _decoder,
    "high-more": _high_more,
    "low-more": _low_more,
    "decoder-more": _decoder_more,
    "decoder-last": _decoder_last,
    "reward-model": _reward_model,
    "reward-tuning": _reward_tuning,
    "export": _export,
}
