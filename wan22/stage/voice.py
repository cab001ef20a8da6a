"""Audio files for the puppet: speech by `espeak-ng`, singing by a synthesis of our own, silence, and mixes of them.

Everything is mono float32 in [-1, 1]. The same arguments give the same audio. It knows no images.
"""

from __future__ import annotations

import io
import random
import re
import shutil
import subprocess
import wave
from functools import cache

import numpy as np

from wan22.errors import OptionError, SpeechError, choose
from wan22.stage.labels import Split

RATE = 16000
"""Samples a second unless told otherwise."""

# Words of a voice's language, chosen for varied audio. Nothing of one split is in the other.
_WORDS = {
    "en": (
        "the quick morning train brings seven happy people home while old clocks count every hour "
        "please show me how you cook fish with rice and sweet potatoes under a big yellow moon "
        "my brother thinks that music makes us move faster than rain on thin paper walls "
        "we found a beautiful shell near the deep blue water yesterday evening "
        "could someone open this heavy door before George arrives with twenty boxes of fresh oranges"
    ),
    "de": "guten Morgen heute scheint die Sonne über den Fluss wir suchen zwölf schöne Äpfel und ein Buch "
    "warum lachst du so laut mein Freund kommt später mit der Straßenbahn",
    "fr": "bonjour la petite fille mange une pomme rouge dans le jardin nous cherchons un grand oiseau bleu "
    "pourquoi tu chantes si bien aujourd'hui avec ton frère",
    "es": "buenos días la casa blanca tiene muchas ventanas y el niño come pan con queso mañana vamos a bailar "
    "en la playa con mis amigos",
    "it": "buongiorno la luna piccola illumina il mare e noi cantiamo una canzone dolce con gli amici vecchi "
    "domani mangio sette gelati",
    "pl": "dzień dobry mały kot śpi na ciepłym piecu a my czytamy ciekawą książkę przy oknie wieczorem",
}
_HELD_OUT_WORDS = {
    "en": (
        "nobody knows where our captain hid his golden compass after such storms "
        "gentle voices echo through empty stations at midnight when snow begins falling "
        "she bought three purple umbrellas for her noisy parrots because winter feels endless "
        "bring coffee and listen carefully this puzzle needs nine clever answers today"
    ),
    "nl": "goedemorgen het kleine meisje fietst graag langs de brede gracht en vraagt waarom vogels zingen",
    "pt": "bom dia o menino gosta de jogar bola na rua e depois bebe água fria debaixo da árvore",
    "sv": "hej solen skiner över sjön och barnen springer fort genom skogen till det röda huset",
}
VOICES: dict[Split, tuple[str, ...]] = {
    "train": (
        "en-us", "en-us+m3", "en-us+f2", "en-us+f3", "en-gb+m1", "en-gb+f1", "en-gb-x-rp", "en-us+m7",
        "de+m3", "fr-fr+f2", "es+m1", "it+f1", "pl+f3",
    ),
    "held-out": ("en-gb-scotland+m5", "en-029+f4", "en-gb-x-gbclan+f5", "nl+m2", "pt+f4", "sv+m4"),
}  # fmt: skip
"""Voices of `espeak-ng` that each split speaks with."""

# Formants in Hz of sung vowels: a, e, i, o, u, and the neutral one.
_VOWELS = (
    (800.0, 1150.0, 2900.0, 3900.0),
    (450.0, 1900.0, 2600.0, 3700.0),
    (290.0, 2250.0, 3000.0, 3900.0),
    (450.0, 800.0, 2830.0, 3800.0),
    (325.0, 700.0, 2700.0, 3800.0),
    (520.0, 1450.0, 2500.0, 3600.0),
)
_WIDTHS = np.array([80.0, 100.0, 130.0, 180.0])
_SCALE = (0, 2, 4, 7, 9, 12)


def speech(
    text: str, *, voice: str = "en", pitch: int = 50, speed: int = 160, rate: int = RATE
) -> np.ndarray:
    """Speak `text` with the `espeak-ng` program; `pitch` 0..99, `speed` in words a minute.

    Raises SpeechError if the program is not installed, does not know the voice or says nothing.
    """
    program = shutil.which("espeak-ng")
    if program is None:
        raise SpeechError("cannot speak: no program espeak-ng; install it (apt install espeak-ng)")
    if voice.partition("+")[0] not in _voices(program):
        raise SpeechError(f"espeak-ng has no voice {voice!r}; `espeak-ng --voices` lists what it has")
    command = [program, "--stdout", "-v", voice, "-p", str(pitch), "-s", str(speed), "--", text]
    spoken = subprocess.run(command, capture_output=True, check=False)
    if spoken.returncode or not spoken.stdout:
        said = spoken.stderr.decode(errors="replace").strip() or "no audio"
        raise SpeechError(f"espeak-ng could not speak with voice {voice!r}: {said}")
    with wave.open(io.BytesIO(spoken.stdout)) as file:
        # The header of a stream has no true length: what came is read.
        samples = np.frombuffer(file.readframes(len(spoken.stdout) // 2), "<i2").astype(np.float32) / 32768
        return _resampled(samples, file.getframerate(), rate)


@cache
def _voices(program: str) -> set[str]:
    """Names of the voices: espeak-ng itself takes another one, silently, for a name that it does not know."""
    table = subprocess.run([program, "--voices"], capture_output=True, check=True, text=True).stdout
    return {line.split()[1] for line in table.splitlines()[1:]} | set(re.findall(r"\((\S+) \d+\)", table))


def singing(seconds: float, *, seed: int = 0, rate: int = RATE) -> np.ndarray:
    """A melody of sung vowels: a pulse train with vibrato through formants, closures between notes, rests."""
    rng = np.random.default_rng(seed)
    base = 110.0 * 2 ** rng.uniform(0, 1.2)
    stretch = rng.uniform(0.95, 1.2)  # of the formants: the length of the throat
    notes: list[np.ndarray] = [np.zeros(round(rng.uniform(0, 0.2) * rate))]
    while sum(map(len, notes)) < seconds * rate:
        count = round(rng.uniform(0.22, 0.7) * rate)
        hertz = base * 2 ** (rng.choice(_SCALE) / 12)
        vowels = np.array(_VOWELS)[rng.integers(len(_VOWELS), size=2)] * stretch
        notes.append(_note(count, hertz, vowels, rate, rng))
        closure = rng.uniform(0.05, 0.12) if rng.random() < 0.8 else rng.uniform(0.3, 0.6)
        notes.append(_consonant(round(closure * rate), rng))
    sung = np.concatenate(notes)[: round(seconds * rate)]
    return (0.6 * sung / max(np.abs(sung).max(initial=0), 1e-6)).astype(np.float32)


def quiet(seconds: float, *, seed: int = 0, rate: int = RATE) -> np.ndarray:
    """Nobody speaks: digital zero, the noise of a room, or clicks in it."""
    rng = np.random.default_rng(seed)
    audio = np.zeros(round(seconds * rate), np.float32)
    kind = rng.choice(["zero", "room", "clicks"])
    if kind == "zero":
        return audio
    audio += noise(len(audio), rng) * 10 ** rng.uniform(-3.5, -2.0)
    if kind == "clicks":
        decay = np.exp(-np.arange(round(0.004 * rate)) / (0.0008 * rate))
        for start in rng.integers(0, max(1, len(audio) - len(decay)), size=max(1, round(2 * seconds))):
            burst = decay * rng.standard_normal(len(decay)) * rng.uniform(0.05, 0.4)
            audio[start : start + len(decay)] += burst[: len(audio) - start].astype(np.float32)
    return audio.clip(-1, 1)


def noise(count: int, rng: np.random.Generator) -> np.ndarray:
    """Room noise of level 1 (rms): louder towards low frequencies, by a slope that `rng` draws."""
    if count < 2:
        return np.zeros(count, np.float32)
    spectrum = np.fft.rfft(rng.standard_normal(count))
    spectrum *= (np.arange(len(spectrum)) + 0.004 * count) ** -rng.uniform(0.0, 0.7)
    shaped = np.fft.irfft(spectrum, count)
    return (shaped / (shaped.std() + 1e-12)).astype(np.float32)


def audio_track(seed: int, seconds: float, *, split: Split = "train", rate: int = RATE) -> np.ndarray:
    """A track for one video: mostly speech, some singing and pauses, at any loudness, sometimes in noise.

    `held-out` speaks other sentences with other voices. Needs `espeak-ng` (see `speech`).
    """
    choose("split", split, ("train", "held-out"))
    if not 0 < seconds <= 3600:
        raise OptionError(
            f"cannot make an audio track of {seconds} s: it must be more than 0 and at most 3600"
        )
    rng = random.Random(f"{split} {seed}")
    track = np.zeros(round(seconds * rate), np.float32)
    at, speaker = round(rng.uniform(0, 0.3) * rate), _speaker(rng, split)
    while at < len(track):
        kind = rng.choices(("speech", "singing", "quiet"), weights=(7, 1, 2))[0]
        left = (len(track) - at) / rate
        part_seed = rng.getrandbits(32)
        if kind == "speech":
            speaker = speaker if rng.random() < 0.7 else _speaker(rng, split)
            part = _say(speaker, min(left, rng.uniform(2.0, 6.0)), rng, rate)
        elif kind == "singing":
            part = singing(min(left, rng.uniform(1.5, 4.0)), seed=part_seed, rate=rate)
        else:
            part = quiet(min(left, rng.uniform(0.4, 1.6)), seed=part_seed, rate=rate)
        part = _faded(part[: len(track) - at], rate) * 10 ** rng.uniform(-0.15, 0.15)
        track[at : at + len(part)] = part
        at += len(part) + round(rng.uniform(0.05, 0.5) * rate)
    if rng.random() < 0.35:
        hiss = noise(len(track), np.random.default_rng(rng.getrandbits(32)))
        track += hiss * track.std() * 10 ** rng.uniform(-2.2, -1.2)
    gain = 10 ** rng.uniform(-1.2, 0.0)
    return (track * (gain / max(np.abs(track).max(), 1e-6))).astype(np.float32)


def _speaker(rng: random.Random, split: Split) -> dict:
    return {"voice": rng.choice(VOICES[split]), "pitch": rng.randint(20, 80), "speed": rng.randint(120, 200)}


def _say(speaker: dict, seconds: float, rng: random.Random, rate: int) -> np.ndarray:
    """Random sentences of the voice's language, cut to `seconds`."""
    table = _WORDS if speaker["voice"] in VOICES["train"] else _HELD_OUT_WORDS
    words = table[speaker["voice"][:2]].split()
    said, count = [], 1.2 * seconds * speaker["speed"] / 60  # a little more than is spoken in the time
    while sum(len(sentence) for sentence in said) < count:
        said.append([rng.choice(words) for _ in range(rng.randint(2, 9))])
    text = ". ".join(" ".join(sentence) for sentence in said) + "."
    return speech(text, rate=rate, **speaker)[: round(seconds * rate)]


def _note(count: int, hertz: float, vowels: np.ndarray, rate: int, rng: np.random.Generator) -> np.ndarray:
    """One sung note that glides between two vowels (2, 4): its harmonics, as loud as the formants let pass."""
    time = np.arange(count) / rate
    vibrato = 1 + rng.uniform(0.004, 0.012) * np.sin(2 * np.pi * rng.uniform(4.5, 6.0) * time)
    phase = 2 * np.pi * np.cumsum(hertz * vibrato) / rate
    # Formants move slowly: every 80 samples will do.
    glide = np.clip((time / time[-1] - 0.3) / 0.4, 0, 1)[::80]
    formants = vowels[0] + (vowels[1] - vowels[0]) * glide[:, None]
    audio = np.zeros(count)
    for harmonic in range(1, int(min(4500, 0.45 * rate) / hertz) + 1):
        distance = (harmonic * hertz - formants) / _WIDTHS
        passed = ((1 + distance**2) ** -0.5 * (1.0, 0.7, 0.45, 0.3)).sum(1)
        gain = np.interp(np.arange(count), np.arange(0, count, 80), passed)
        audio += gain * harmonic**-1.0 * np.sin(harmonic * phase)
    return audio * np.minimum(1, np.minimum(time, time[-1] - time) / 0.03) * rng.uniform(0.5, 1.0)


def _consonant(count: int, rng: np.random.Generator) -> np.ndarray:
    """A closed mouth between notes, sometimes with a hiss or a burst at its end."""
    closed = np.zeros(count)
    if rng.random() < 0.6:
        hiss = np.diff(rng.standard_normal(count // 2 + 1)) * rng.uniform(0.01, 0.08)
        closed[-len(hiss) :] = hiss * np.hanning(len(hiss))
    return closed


def _faded(audio: np.ndarray, rate: int) -> np.ndarray:
    """`audio` with soft ends, 10 ms."""
    place = np.arange(len(audio))
    return audio * np.minimum(1, np.minimum(place, place[::-1]) / (0.01 * rate)).astype(np.float32)


def _resampled(samples: np.ndarray, old: int, new: int) -> np.ndarray:
    """Band-limited resampling by the spectrum; padded with silence so that the ends do not meet."""
    if old == new:
        return samples
    pad = -len(samples) % old + old // 10 * 10  # whole seconds resample exactly
    size = -(-(len(samples) + pad) // old) * old
    spectrum = np.fft.rfft(samples, size)
    target = size * new // old
    kept = np.zeros(target // 2 + 1, complex)
    shared = min(len(kept), len(spectrum))
    kept[:shared] = spectrum[:shared]
    return (np.fft.irfft(kept, target)[: round(len(samples) * new / old)] * (target / size)).astype(
        np.float32
    )
