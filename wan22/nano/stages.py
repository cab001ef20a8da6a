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
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor

from wan22.arch import VAEArch
from wan22.atomic import write_text, written
from wan22.catalog import EMBEDDED, from_json, to_json
from wan22.conditioning.text import Tokenizer
from wan22.errors import CheckpointError, choose
from wan22.models.vae import WanVAE
from wan22.nano.clips import ClipSet, clip_set
from wan22.nano.dit import DiTRecipe, train_dit
from wan22.nano.latents import LatentSet, encode_clips, latent_set
from wan22.nano.puppets import puppet_pixels
from wan22.nano.recipes import nano, nano_speech
from wan22.nano.reward_model import RewardModel, train_reward_model
from wan22.nano.reward_tuning import tune_with_reward
from wan22.nano.state import load_average
from wan22.nano.text_pretraining import caption_tokenizer, pretrain_text_encoder
from wan22.nano.vae import train_vae
from wan22.stage.puppet import sample_puppets
from wan22.train.checkpoint import write_json
from wan22.train.log import Log
from wan22.weights.reader import read_json
from wan22.weights.writer import write_tensors

STAGES = (
    "clips", "latents", "text", "sketch", "high", "low", "decoder",
    "high-more", "low-more", "decoder-more", "decoder-last", "reward-model", "reward-tuning", "export",
)  # fmt: skip
_ALL = (nano.SMALL, *nano.VIDEOS, *nano.REWARD_MODEL_VIDEOS[1:])
_SHOWN, _SPOKEN = 3000, 600
"""Clips of videos and of puppets that the decoder learns from."""


def run(stage: str, folder: Path, *, log: Log, minutes: float | None = None) -> None:
    """Run one stage, or "all" of them in order. Raises OptionError for an unknown one."""
    for each in STAGES if stage == "all" else (choose("stage", stage, STAGES),):
        log(f"stage {each}")
        _RUN[each](folder, log, minutes)


def _videos(folder: Path, videos: nano.Videos) -> ClipSet:
    return clip_set(
        folder / "clips",
        count=videos.count,
        height=videos.height,
        width=videos.width,
        frames=nano.FRAMES,
        seed=videos.seed,
        compile=True,
    )


def _clips(folder: Path, log: Log, minutes: float | None) -> None:
    for videos in _ALL:
        _videos(folder, videos)
        log(f"{videos.count} clips of {videos.width}x{videos.height}")


def _latents(folder: Path, log: Log, minutes: float | None) -> None:
    vae = _vae()
    for videos in _ALL:
        path = _latents_path(folder, videos)
        if not path.exists():
            encode_clips(vae, _videos(folder, videos), path)
        log(f"latents of {videos.count} videos of {videos.width}x{videos.height}")


def _text(folder: Path, log: Log, minutes: float | None) -> None:
    target = folder / "text"
    target.mkdir(parents=True, exist_ok=True)
    if not (target / "tokenizer.json").exists():
        write_text(target / "tokenizer.json", caption_tokenizer(nano.WORDS, nano.SEED).to_str(pretty=True))
    tokenizer = open_tokenizer(folder)
    weights = pretrain_text_encoder(
        nano.text(tokenizer.size), tokenizer, target, steps=nano.WORD_STEPS, batch=64, seed=nano.SEED, log=log
    )
    write_tensors(target / "text.safetensors", weights)


def _sketch(folder: Path, log: Log, minutes: float | None) -> None:
    start = _begin("high", folder)
    _train(nano.sketch(open_tokenizer(folder).size), "sketch", start, (nano.SMALL,), folder, log, minutes)


def _high(folder: Path, log: Log, minutes: float | None) -> None:
    start = load_average(folder / "sketch") | text_encoder_start(folder)
    _train(nano.high(open_tokenizer(folder).size), "high", start, nano.VIDEOS, folder, log, minutes)


def _low(folder: Path, log: Log, minutes: float | None) -> None:
    start = _begin("low", folder)
    _train(nano.low(open_tokenizer(folder).size), "low", start, nano.VIDEOS, folder, log, minutes)


def _high_more(folder: Path, log: Log, minutes: float | None) -> None:
    start = load_average(folder / "high") | text_encoder_start(folder)
    recipe = nano.high_more(open_tokenizer(folder).size)
    _train(recipe, "high-more", start, nano.VIDEOS, folder, log, minutes)


def _low_more(folder: Path, log: Log, minutes: float | None) -> None:
    start = load_average(folder / "low") | text_encoder_start(folder)
    recipe = nano.low_more(open_tokenizer(folder).size)
    _train(recipe, "low-more", start, nano.VIDEOS, folder, log, minutes)


def _reward_model(folder: Path, log: Log, minutes: float | None) -> None:
    start = _under("dit.", load_average(folder / "low-more"))
    shown = [latents_of(folder, videos) for videos in nano.REWARD_MODEL_VIDEOS]
    train_reward_model(
        nano.reward_model(), shown, folder / "reward-model", log=log, start=start, minutes=minutes
    )


def _reward_tuning(folder: Path, log: Log, minutes: float | None) -> None:
    reward_model = RewardModel(nano.DIT)
    reward_model.load_state_dict(load_average(folder / "reward-model"))
    start = text_encoder_start(folder)
    for name in ("high", "low"):
        expert = _under("dit.", load_average(folder / f"{name}-more"))
        start |= {f"{name}.{key}": value for key, value in expert.items()}
    sets = [(latents_of(folder, videos), videos.share) for videos in nano.VIDEOS]
    tokenizer = open_tokenizer(folder)
    recipe = nano.reward_tuning(tokenizer.size)
    tune_with_reward(
        recipe, reward_model, sets, tokenizer, folder / "reward-tuning", log=log, start=start, minutes=minutes
    )


def _train(
    recipe: DiTRecipe,
    name: str,
    start: dict[str, Tensor] | None,
    videos: Sequence[nano.Videos],
    folder: Path,
    log: Log,
    minutes: float | None,
) -> None:
    sets = [(latents_of(folder, each), each.share) for each in videos]
    train_dit(recipe, sets, open_tokenizer(folder), folder / name, log=log, start=start, minutes=minutes)


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


def _decoder(folder: Path, log: Log, minutes: float | None) -> None:
    start = shipped_vae()
    train_vae(
        nano.decoder(shipped_arch()),
        _shown(folder),
        folder / "decoder",
        log=log,
        start=start,
        minutes=minutes,
    )


def _decoder_more(folder: Path, log: Log, minutes: float | None) -> None:
    start = shipped_vae() | load_average(folder / "decoder")
    recipe = nano.decoder_more(shipped_arch())
    train_vae(recipe, _shown(folder), folder / "decoder-more", log=log, start=start, minutes=minutes)


def _decoder_last(folder: Path, log: Log, minutes: float | None) -> None:
    start = shipped_vae() | load_average(folder / "decoder-more")
    recipe = nano.decoder_last(shipped_arch())
    train_vae(recipe, _shown(folder), folder / "decoder-last", log=log, start=start, minutes=minutes)


def _shown(folder: Path) -> np.ndarray:
    """Images for the decoder, uint8 (n, T, 64, 64, 3): windows of the largest videos, then puppets."""
    path, side = folder / "shown.npy", nano_speech.SIZE
    if not path.exists():
        videos = _videos(folder, nano.VIDEOS[0]).pixels[:_SHOWN]
        rng = np.random.default_rng(nano.SEED)
        corners = zip(
            rng.integers(videos.shape[2] - side + 1, size=_SHOWN),
            rng.integers(videos.shape[3] - side + 1, size=_SHOWN),
            strict=True,
        )
        windows = [
            video[:, y : y + side, x : x + side] for video, (y, x) in zip(videos, corners, strict=True)
        ]
        shots = sample_puppets(nano_speech.VIDEOS.count, nano_speech.VIDEOS.seed)
        per_video = nano_speech.VIDEOS.frames // nano.FRAMES
        puppets = []
        for i in range(-(-_SPOKEN // per_video)):
            video = puppet_pixels(nano_speech.VIDEOS, shots[i : i + 1], range(i, i + 1))[0].numpy()
            puppets += [video[k * nano.FRAMES : (k + 1) * nano.FRAMES] for k in range(per_video)]
        with written(path) as part, part.open("wb") as file:
            np.save(file, np.stack(windows + puppets[:_SPOKEN]))
    return np.load(path, mmap_mode="r")


def _export(folder: Path, log: Log, minutes: float | None) -> None:
    """Write the model's own folder: bfloat16 weights, tokenizer and `variant.json`."""
    high, low = _experts(folder)
    vae = shipped_vae()
    if (folder / "decoder").exists():
        vae |= load_average(_last(folder, "decoder"))
    target = folder / "model"
    target.mkdir(parents=True, exist_ok=True)
    tokenizer = open_tokenizer(folder)
    write_text(target / "tokenizer.json", (folder / "text" / "tokenizer.json").read_text("utf-8"))
    parts = {
        "vae": vae,
        "text_encoder": load_file(folder / "text" / "text.safetensors"),
        "high_noise_model": high,
        "low_noise_model": low,
    }
    for name, tensors in parts.items():
        half = {key: value.bfloat16().contiguous() for key, value in tensors.items()}
        write_tensors(target / f"{name}.safetensors", half, {"format": "pt"})
        log(f"{name}: {sum(t.numel() for t in half.values()) / 1e6:.2f} M parameters")
    row = nano.variant(shipped_arch(), tokenizer.size)
    write_json(target / "variant.json", to_json(row))
    log(f"the model is in {target}")


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


def latents_of(folder: Path, videos: nano.Videos) -> LatentSet:
    """A run's videos as latents. Raises CheckpointError if they were not made.

    The shipped VAE knows its mean and deviation, so what it encoded is normalised already.
    """
    path = _latents_path(folder, videos)
    if not path.exists():
        raise CheckpointError(f"there is no {path}: run the stages clips and latents first")
    zero, one = torch.zeros(nano.VAE.z), torch.ones(nano.VAE.z)
    return latent_set(path, mean=zero, std=one, count=videos.count, seed=videos.seed)


def open_tokenizer(folder: Path) -> Tokenizer:
    """A run's tokenizer."""
    return Tokenizer.open(folder / "text" / "tokenizer.json")


def _under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}


_RUN: dict[str, Callable[[Path, Log, float | None], None]] = {
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
