"""The sizes of the networks: one frozen value per kind, read by the networks, the catalogue and the loaders.

They stand apart from the networks so that a catalogue can be printed without importing torch.
"""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class SpeechArch:
    """What a transformer has beyond the base to be driven by audio (spec: speech_to_video, sections 1 and 2).

    `audio_dim` and `audio_states` are the width and number of hidden states of the audio's encoder, `audio_tokens`
    the tokens of each latent frame made from them (one more is learned), `inject` the blocks after which they are
    read, `pose_channels` the latent channels of a pose video, `history` the latent frames of motion history, newest
    first, that are packed one, two and four times as coarsely.
    """

    audio_dim: int
    audio_states: int
    audio_tokens: int
    inject: tuple[int, ...]
    pose_channels: int = 16
    history: tuple[int, int, int] = (1, 2, 16)

    def __post_init__(self) -> None:
        object.__setattr__(self, "inject", tuple(self.inject))  # as JSON gives them: lists
        object.__setattr__(self, "history", tuple(self.history))


@dataclass(frozen=True)
class DiTArch:
    """The sizes of a transformer (spec: transformer, section 1); `speech` is None without audio."""

    in_channels: int
    out_channels: int
    dim: int
    ffn_dim: int
    heads: int
    layers: int
    text_dim: int = 4096
    text_len: int = 512
    freq_dim: int = 256
    eps: float = 1e-6
    speech: SpeechArch | None = None

    def __post_init__(self) -> None:
        if isinstance(self.speech, dict):  # as JSON gives it
            object.__setattr__(self, "speech", SpeechArch(**self.speech))


@dataclass(frozen=True)
class VAEArch:
    """The sizes of a VAE. `temporal[i]` says whether level i also halves time; `patch` pixels a side are
    folded into channels before the encoder; `residual` adds Wan2.2's parameter-free shortcuts around levels.
    `mean` and `std` (one per latent channel) normalise the latents.
    """

    z: int
    encoder_width: int
    decoder_width: int
    multipliers: tuple[int, ...]
    blocks: int
    temporal: tuple[bool, ...]
    patch: int
    residual: bool
    mean: tuple[float, ...] = field(repr=False)
    std: tuple[float, ...] = field(repr=False)

    @property
    def stride_time(self) -> int:
        """Pixel frames per latent frame, after the first."""
        return 2 ** sum(self.temporal)

    @property
    def stride_space(self) -> int:
        """Pixels per latent row or column."""
        return self.patch * 2 ** (len(self.multipliers) - 1)


@dataclass(frozen=True)
class UMT5Arch:
    """The sizes of a UMT5 encoder (spec: text_encoder, section 1)."""

    vocab: int
    dim: int
    dim_attn: int
    ffn_dim: int
    heads: int
    layers: int
    buckets: int = 32
    max_distance: int = 128
    eps: float = 1e-6
