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
class AnimateArch:
    """What a transformer has beyond the base to be driven by poses and a face (spec: animate, sections 1 to 3).

    The appearance network halves faces of `face_size` pixels a side until 4 are left; `channels` are its widths, one
    for each side from 4 pixels up. `style_dim` is the width of its vector, of which `motion_dim` coefficients are made;
    directions of `direction_dim` turn these into a motion. The face encoder makes `face_groups` tokens of a latent
    frame, by convolutions `conv_dim` wide (one token more is learned). They are read after every `every`-th block,
    the first included. The image's encoder gives `image_tokens` vectors of `image_dim`; a pose video has
    `pose_channels` latent channels.
    """

    channels: tuple[int, ...] = (512, 512, 512, 512, 256, 128, 64, 32)
    style_dim: int = 512
    motion_dim: int = 20
    direction_dim: int = 512
    conv_dim: int = 1024
    face_groups: int = 4
    every: int = 5
    image_dim: int = 1280
    image_tokens: int = 257
    pose_channels: int = 16

    def __post_init__(self) -> None:
        object.__setattr__(self, "channels", tuple(self.channels))  # as JSON gives them: a list

    @property
    def face_size(self) -> int:
        """Pixels a side of a face."""
        return 4 * 2 ** (len(self.channels) - 1)

    def taps(self, layers: int) -> tuple[int, ...]:
        """The blocks of so many after which the face is read."""
        return tuple(range(0, layers, self.every))


@dataclass(frozen=True)
class DiTArch:
    """The sizes of a transformer (spec: transformer, section 1); `speech` is None without audio, `animate` without
    poses and a face.
    """

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
    animate: AnimateArch | None = None

    def __post_init__(self) -> None:
        for name, kind in (("speech", SpeechArch), ("animate", AnimateArch)):
            if isinstance(given := getattr(self, name), dict):  # as JSON gives it
                object.__setattr__(self, name, kind(**given))
        if self.animate is not None and self.layers % self.animate.every:
            raise ValueError(
                f"{self.layers} blocks: a network of animation reads the face after every {self.animate.every}-th, "
                "so it has a multiple of that"
            )


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


@dataclass(frozen=True)
class CLIPArch:
    """The sizes of the image tower of CLIP (spec: animate, section 4). `layers` are the blocks that a file holds; the
    last one is not computed.
    """

    dim: int = 1280
    ffn_dim: int = 5120
    heads: int = 16
    layers: int = 32
    image_size: int = 224
    patch: int = 14
    eps: float = 1e-5

    @property
    def tokens(self) -> int:
        """Vectors of an image: one of the class, one of each patch."""
        return 1 + (self.image_size // self.patch) ** 2
