"""Run the nano model's speech recipe, stage by stage; every stage can be stopped and goes on where it was.

audio-encoder   the audio encoder learns how the puppet performs an audio file
clips           puppets are rendered, and encoded by the nano model's VAE
audio-features  their audio go through the audio encoder
decoder         the VAE's decoder learns to show puppets; its encoder, and so the latents, stay
speech-dit      the transformer learns, and the text encoder with it
export          the model's folder is written
ship            it is copied to the package's assets (asked for by name, not a part of "all")
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from random import Random

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor

from wan22.arch import VAEArch
from wan22.atomic import write_copy, write_text, written, written_folder
from wan22.catalog import EMBEDDED, EMBEDDED_SPEECH, from_json, to_json
from wan22.conditioning.speech import hidden_states
from wan22.conditioning.text import Tokenizer
from wan22.errors import CheckpointError, choose
from wan22.models.vae import WanVAE
from wan22.nano.audio_encoder import AudioEncoderWithHead, train_audio_encoder
from wan22.nano.puppets import encode_puppet_audio, has_audio, make_puppets, puppet_pixels, puppet_set
from wan22.nano.recipes import nano_speech as recipe
from wan22.nano.speech_dit import train_speech_dit
from wan22.nano.state import load_average
from wan22.nano.tokenizer import build_word_tokenizer
from wan22.nano.vae import train_vae
from wan22.stage.labels import sample
from wan22.stage.puppet import puppet_caption, sample_puppets
from wan22.stage.render import render
from wan22.train.checkpoint import write_json
from wan22.train.log import Log
from wan22.weights.load import load_module, meta_module
from wan22.weights.reader import open_reader, read_json
from wan22.weights.writer import write_tensors

STAGES = ("audio-encoder", "clips", "audio-features", "decoder", "speech-dit", "export", "ship")
_CAPTIONS = 20_000


def run(stage: str, folder: Path, *, log: Log, minutes: float | None = None) -> None:
    """Run one stage, or "all" of them but the last, in order. Raises OptionError for an unknown one."""
    for each in STAGES[:-1] if stage == "all" else (choose("stage", stage, STAGES),):
        log(f"stage {each}")
        _RUN[each](folder, log, minutes)


def _audio_encoder(folder: Path, log: Log, minutes: float | None) -> None:
    train_audio_encoder(recipe.audio_encoder(), folder / "audio-encoder", log=log, minutes=minutes)


def _clips(folder: Path, log: Log, minutes: float | None) -> None:
    make_puppets(recipe.VIDEOS, _vae(), folder / "clips", log=log)


def _audio_features(folder: Path, log: Log, minutes: float | None) -> None:
    network = AudioEncoderWithHead(recipe.audio_encoder().config)
    network.load_state_dict(load_average(folder / "audio-encoder"), strict=False)
    encoder = network.encoder.eval()
    encode_puppet_audio(
        recipe.VIDEOS, lambda samples: hidden_states(encoder, samples), folder / "clips", log=log
    )


def _decoder(folder: Path, log: Log, minutes: float | None) -> None:
    settings = recipe.decoder(_nano_vae())
    start = {name: tensor.float() for name, tensor in _vae().state_dict().items()}
    train_vae(settings, _shown(folder), folder / "decoder", log=log, start=start, minutes=minutes)


def _shown(folder: Path) -> np.ndarray:
    """Clips of puppets and of the film set, uint8 (n, 17, 64, 64, 3), rendered once."""
    path = folder / "shown.npy"
    if path.exists():
        return np.load(path, mmap_mode="r")
    videos, frames, parts = recipe.VIDEOS, 17, []
    shots = sample_puppets(videos.count, videos.seed)
    per_video = videos.frames // frames
    for begin in range(0, recipe.DECODER_CLIPS // per_video, 8):
        pixels = puppet_pixels(videos, shots[begin : begin + 8], range(begin, begin + 8)).numpy()
        cut = pixels[:, : per_video * frames]
        parts.append(cut.reshape(-1, frames, *cut.shape[2:]))
    clips = sample(recipe.DECODER_CLIPS, seed=recipe.SEED)
    for begin in range(0, recipe.DECODER_CLIPS, 32):
        parts.append(
            render(
                clips[begin : begin + 32],
                height=recipe.SIZE,
                width=recipe.SIZE,
                frames=frames,
                seed=recipe.SEED + begin,
            ).numpy()
        )
    whole = np.concatenate(parts)
    with written(path) as part, part.open("wb") as file:
        np.save(file, whole[np.random.default_rng(recipe.SEED).permutation(len(whole))])
    return np.load(path, mmap_mode="r")


def _speech_dit(folder: Path, log: Log, minutes: float | None) -> None:
    if not has_audio(folder / "clips"):
        raise CheckpointError(
            f"{folder / 'clips'} holds no audio states: run the stages audio-encoder, clips and audio-features first"
        )
    data = puppet_set(recipe.VIDEOS, folder / "clips")
    tokenizer = _tokenizer(folder)
    arch = _nano_vae()
    normal = torch.tensor(arch.mean), torch.tensor(arch.std)
    train_speech_dit(
        recipe.speech_dit(tokenizer.size),
        data,
        normal,
        tokenizer,
        folder / "speech-dit",
        log=log,
        minutes=minutes,
    )


def _export(folder: Path, log: Log, minutes: float | None) -> None:
    """Write the model's own folder: bfloat16 weights, tokenizer and `variant.json`."""
    speaker = load_average(folder / "speech-dit")
    encoder = _under("encoder.", load_average(folder / "audio-encoder"))
    target, tokenizer = folder / "model", _tokenizer(folder)
    vae = dict(_vae().state_dict()) | load_average(folder / "decoder")
    parts = {
        "transformer.safetensors": _under("dit.", speaker),
        "text_encoder.safetensors": _under("text.", speaker),
        "audio_encoder/model.safetensors": encoder,
        "vae.safetensors": vae,
    }
    names = {"tokenizer.json", "variant.json", *(name.partition("/")[0] for name in parts)}
    with written_folder(target, replace=lambda entry: entry.name in names) as part:
        (part / "audio_encoder").mkdir()
        write_text(part / "tokenizer.json", (folder / "tokenizer.json").read_text("utf-8"))
        for name, tensors in parts.items():
            half = {key: value.bfloat16().contiguous() for key, value in tensors.items()}
            write_tensors(part / name, half, {"format": "pt"})
            log(f"{name}: {sum(t.numel() for t in half.values()) / 1e6:.2f} M parameters")
        config = {
            "model_type": "wav2vec2",
            "architectures": ["Wav2Vec2Model"],
            **recipe.audio_encoder().config,
        }
        write_json(part / "audio_encoder" / "config.json", config)
        _write_row(to_json(recipe.variant(_twice_normalised(_nano_vae()), tokenizer.size)), part)
    log(f"the model is in {target}")


def _ship(folder: Path, log: Log, minutes: float | None) -> None:
    """Copy the model to the package's assets. The VAE's encoder must be bit for bit the one that is there."""
    made, shared = folder / "model", EMBEDDED / "vae.safetensors"
    old, new = load_file(shared), load_file(made / "vae.safetensors")
    changed = [n for n in old if n.startswith(("encoder.", "conv1.")) and not torch.equal(old[n], new[n])]
    if changed:
        raise CheckpointError(
            f"the VAE in {made} has another encoder ({changed[0]}): the nano model's experts draw in other latents"
        )
    for file in sorted(path for path in made.rglob("*") if path.is_file() and path.name != shared.name):
        write_copy(EMBEDDED_SPEECH / file.relative_to(made), file)
    write_copy(shared, made / shared.name)
    row = read_json(made / "variant.json")
    _write_row({**row, "parts": {"vae": f"../{EMBEDDED.name}/{shared.name}"}}, EMBEDDED_SPEECH)
    log(f"the model is in {EMBEDDED_SPEECH}, and its VAE in {EMBEDDED}")


def _write_row(row: dict, folder: Path) -> None:
    write_json(folder / "variant.json", row)


def _nano_vae() -> VAEArch:
    return from_json(read_json(EMBEDDED / "variant.json")).vae


def _twice_normalised(vae: VAEArch) -> VAEArch:
    """The latents that the transformer learns: those of the videos, which the VAE normalised, normalised once more."""
    mean = tuple(m * s + m for m, s in zip(vae.mean, vae.std, strict=True))
    return replace(vae, mean=mean, std=tuple(s * s for s in vae.std))


def _vae() -> WanVAE:
    with open_reader(EMBEDDED / "vae.safetensors") as reader:
        network = load_module(
            meta_module(_nano_vae()), reader, dtype=lambda name: torch.float32, device=torch.device("cpu")
        )
    assert isinstance(network, WanVAE)
    return network.eval()


def _tokenizer(folder: Path) -> Tokenizer:
    """The words of the captions, built once."""
    path = folder / "tokenizer.json"
    if not path.exists():
        words = Random(recipe.SEED)
        captions = [puppet_caption(shot, words) for shot in sample_puppets(_CAPTIONS, recipe.SEED)]
        write_text(path, build_word_tokenizer(captions, max_vocab=1024).to_str(pretty=True))
    return Tokenizer.open(path)


def _under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}


_RUN: dict[str, Callable[[Path, Log, float | None], None]] = {
    "audio-encoder": _audio_encoder,
    "clips": _clips,
    "audio-features": _audio_features,
    "decoder": _decoder,
    "speech-dit": _speech_dit,
    "export": _export,
    "ship": _ship,
}
