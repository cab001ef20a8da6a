"""Train the embedded model from nothing: the stages, their order, and what each leaves in the run's folder.

    clips/      rendered films           vae/      the VAE in training        latents/  films as the VAE sees them
    both/       one network, all noise   high/ more/ low/   the two experts   and the finished model, by `export`

Every stage resumes where it was stopped. `high` teaches the text encoder on, and `low` reads through it as it was when
`low` was last started: side by side, restart `low` from time to time.
"""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from random import Random

from safetensors.torch import save_file
from torch import Tensor

from wan22.arch import VAEArch
from wan22.catalog import to_json
from wan22.conditioning.text import Tokenizer
from wan22.errors import CheckpointError, choose
from wan22.models.vae import WanVAE
from wan22.stage.caption import caption
from wan22.stage.labels import sample
from wan22.train.clips import ClipSet, clip_set
from wan22.train.flow import FlowRecipe, train_flow
from wan22.train.latents import LatentSet, encode_clips, latent_set, statistics
from wan22.train.recipes import nano
from wan22.train.state import load_average
from wan22.train.tokenizer import build_word_tokenizer
from wan22.train.vae import Log, train_vae

STAGES = ("clips", "vae", "latents", "both", "high", "more", "low", "export")
_CAPTIONS = 20_000


def run(stage: str, folder: Path, *, log: Log, minutes: float | None = None) -> None:
    """Run one stage, or "all" of them in order. Raises OptionError for an unknown one."""
    if stage == "all":
        for each in STAGES:
            log(f"stage {each}")
            _RUN[each](folder, log, minutes)
        return
    _RUN[choose("stage", stage, STAGES)](folder, log, minutes)


def _films(folder: Path, films: nano.Films) -> ClipSet:
    return clip_set(
        folder / "clips",
        count=films.count,
        height=films.height,
        width=films.width,
        frames=nano.FRAMES,
        seed=films.seed,
    )


def _clips(folder: Path, log: Log, minutes: float | None) -> None:
    for films in nano.FILMS:
        _films(folder, films)
        log(f"{films.count} clips of {films.width}x{films.height}")


def _vae(folder: Path, log: Log, minutes: float | None) -> None:
    train_vae(nano.vae(), _films(folder, nano.FILMS[0]).pixels, folder / "vae", log=log, minutes=minutes)


def _latents(folder: Path, log: Log, minutes: float | None) -> None:
    vae = _trained_vae(folder, nano.VAE)
    for films in nano.FILMS:
        path = _latents_path(folder, films)
        if not path.exists():
            encode_clips(vae, _films(folder, films), path)
        log(f"latents of {films.count} films of {films.width}x{films.height}")


def _both(folder: Path, log: Log, minutes: float | None) -> None:
    _require_latents(folder)
    _train(nano.both(_tokenizer(folder).size), "both", None, folder, log, minutes)


def _high(folder: Path, log: Log, minutes: float | None) -> None:
    _require_latents(folder)
    start = load_average(folder / "both")
    _train(nano.high(_tokenizer(folder).size), "high", start, folder, log, minutes)


def _more(folder: Path, log: Log, minutes: float | None) -> None:
    _require_latents(folder)
    start = load_average(folder / "high")
    _train(nano.more(_tokenizer(folder).size), "more", start, folder, log, minutes)


def _low(folder: Path, log: Log, minutes: float | None) -> None:
    _require_latents(folder)
    start = load_average(folder / "both")
    newest = load_average(
        next(folder / name for name in ("more", "high", "both") if (folder / name).exists())
    )
    start |= {name: value for name, value in newest.items() if name.startswith("text.")}
    _train(nano.low(_tokenizer(folder).size), "low", start, folder, log, minutes)


def _train(
    recipe: FlowRecipe,
    name: str,
    start: dict[str, Tensor] | None,
    folder: Path,
    log: Log,
    minutes: float | None,
) -> None:
    sets = [(latents, films.share) for latents, films in zip(_sets(folder), nano.FILMS, strict=True)]
    train_flow(recipe, sets, _tokenizer(folder), folder / name, log=log, start=start, minutes=minutes)


def _export(folder: Path, log: Log, minutes: float | None) -> None:
    """Write the model's own folder: bfloat16 weights, tokenizer and `variant.json`."""
    vae = load_average(folder / "vae")
    _require_latents(folder)
    high, low = load_average(folder / "more"), load_average(folder / "low")
    target = folder / "model"
    target.mkdir(parents=True, exist_ok=True)
    tokenizer = _tokenizer(folder)
    (target / "tokenizer.json").write_text((folder / "tokenizer.json").read_text())
    parts = {
        "vae": vae,
        "text_encoder": _under("text.", high),  # the low-noise expert only reads it
        "high_noise_model": _under("dit.", high),
        "low_noise_model": _under("dit.", low),
    }
    for name, tensors in parts.items():
        half = {key: value.bfloat16().contiguous() for key, value in tensors.items()}
        save_file(half, target / f"{name}.safetensors", metadata={"format": "pt"})
        log(f"{name}: {sum(t.numel() for t in half.values()) / 1e6:.2f} M parameters")
    row = nano.variant(_normalised(folder), tokenizer.size)
    (target / "variant.json").write_text(json.dumps(to_json(row), indent=1, ensure_ascii=False) + "\n")
    log(f"the model is in {target}")


def _trained_vae(folder: Path, arch: VAEArch) -> WanVAE:
    vae = WanVAE(arch)
    vae.load_state_dict(load_average(folder / "vae"))
    return vae.eval()


def _latents_path(folder: Path, films: nano.Films) -> Path:
    return folder / "latents" / f"{films.width}x{films.height}.safetensors"


def _normalised(folder: Path) -> VAEArch:
    """The VAE's sizes, with the mean and deviation of the latents of its largest set of films."""
    mean, std = statistics(_latents_path(folder, nano.FILMS[0]))
    return replace(nano.VAE, mean=tuple(mean.tolist()), std=tuple(std.tolist()))


def _require_latents(folder: Path) -> None:
    """Say before any work that an earlier stage is missing."""
    missing = [path for films in nano.FILMS if not (path := _latents_path(folder, films)).exists()]
    if missing:
        raise CheckpointError(f"there is no {missing[0]}: run the stages clips, vae and latents first")


def _sets(folder: Path) -> list[LatentSet]:
    paths = [_latents_path(folder, films) for films in nano.FILMS]
    mean, std = statistics(paths[0])
    return [
        latent_set(path, mean=mean, std=std, count=films.count, seed=films.seed)
        for path, films in zip(paths, nano.FILMS, strict=True)
    ]


def _tokenizer(folder: Path) -> Tokenizer:
    """The words of the captions, built once."""
    path = folder / "tokenizer.json"
    if not path.exists():
        words = Random(nano.SEED)
        captions = [caption(shot, words) for shot in sample(_CAPTIONS, seed=nano.SEED)]
        folder.mkdir(parents=True, exist_ok=True)
        build_word_tokenizer(captions, max_vocab=1024).save(str(path))
    return Tokenizer.open(path)


def _under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}


_RUN: dict[str, Callable[[Path, Log, float | None], None]] = {
    "clips": _clips,
    "vae": _vae,
    "latents": _latents,
    "both": _both,
    "high": _high,
    "more": _more,
    "low": _low,
    "export": _export,
}
