"""At which sizes things are measured: those of the official models, and small ones for a test of the script."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from wan22.arch import DiTArch, VAEArch
from wan22.catalog import VARIANTS


@dataclass(frozen=True)
class Case:
    """A model at a size: its networks, and the latent grid (t, h, w)."""

    name: str
    model: str
    dit: DiTArch
    vae: VAEArch
    grid: tuple[int, int, int]

    @property
    def tokens(self) -> int:
        """Of one video."""
        t, h, w = self.grid
        return t * (h // 2) * (w // 2)


_SIZES = {
    "5B 1280x704x121": ("ti2v-5B", (1280, 704), 121),
    "A14B 832x480x81": ("t2v-A14B", (832, 480), 81),
    "A14B 1280x720x81": ("t2v-A14B", (1280, 720), 81),
}


def official() -> Mapping[str, Case]:
    """The sizes that the models were trained for."""
    found = {}
    for name, (model, (width, height), frames) in _SIZES.items():
        row = VARIANTS[model]
        v = row.vae
        grid = (frames - 1) // v.stride_time + 1, height // v.stride_space, width // v.stride_space
        found[name] = Case(name, model, row.dit, row.vae, grid)
    return found


def tiny() -> Mapping[str, Case]:
    """The same kinds of networks, of a few thousand weights."""
    small = {
        "dim": 64,
        "ffn_dim": 128,
        "heads": 2,
        "layers": 3,
        "text_dim": 32,
        "text_len": 16,
        "freq_dim": 16,
    }
    found = {}
    for name, case in official().items():
        z = {"z": 4, "mean": (0.0,) * 4, "std": (1.0,) * 4}
        known = case.dit.in_channels - case.dit.out_channels
        dit = replace(case.dit, in_channels=4 + known, out_channels=4, **small)
        vae = replace(case.vae, encoder_width=4, decoder_width=4, **z)
        found[name] = replace(case, dit=dit, vae=vae, grid=(4, 4, 4))
    return found
