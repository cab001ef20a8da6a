"""The VAE on several gloo processes, each with some rows of every frame: the numbers of one process, to rounding."""

from dataclasses import replace

import pytest
import torch
from launch import run
from unit.tiny import VAE, random_weights

import wan22
from wan22.arch import VAEArch
from wan22.codec import Codec
from wan22.memory.history import HostHistory
from wan22.models.vae import WanVAE
from wan22.parallel.ranks import Ranks
from wan22.parallel.rows import RowSplit

CPU = torch.device("cpu")
ARCHS = {
    "like Wan2.1's": VAEArch(
        z=4,
        encoder_width=4,
        decoder_width=4,
        multipliers=(1, 2, 2, 2),
        blocks=1,
        temporal=(False, True, True),
        patch=1,
        residual=False,
        mean=(0.1, -0.1, 0.2, 0.0),
        std=(0.5, 0.6, 0.7, 0.8),
    ),
    "like Wan2.2's": replace(VAE, multipliers=(1, 2, 2), blocks=2),
}


def network(name: str) -> WanVAE:
    if name == "nano":
        return wan22.load("nano", device="cpu").vae()
    vae = WanVAE(ARCHS[name])
    vae.load_state_dict(random_weights(vae, torch.Generator().manual_seed(0)))
    return vae.eval()


def drawn(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def off(found: torch.Tensor, right: torch.Tensor) -> float:
    assert found.shape == right.shape
    return float((found - right).norm() / right.norm())


def through(codec: Codec, vae: WanVAE, video: torch.Tensor, latents: torch.Tensor) -> list[torch.Tensor]:
    return [codec.encode(vae, video), torch.cat(list(codec.decode(vae, latents)), dim=1)]


def both_ways(rank: int, name: str, sizes: list[tuple[int, int, int]]) -> dict[str, float]:
    """How far the results of all ranks are off those of one process, for latents of these sizes."""
    ranks, vae, found = Ranks(None, CPU), network(name), {}
    for t, h, w in sizes:
        side = vae.arch.stride_space
        video = drawn(1, 3, 1 + (t - 1) * vae.arch.stride_time, h * side, w * side)
        latents = drawn(1, vae.arch.z, t, h, w)
        for frugal in (False, True):
            right = through(Codec(CPU, host_history=frugal), vae, video, latents)
            split = through(Codec(CPU, host_history=frugal, rows=RowSplit(ranks)), vae, video, latents)
            for kind, a, b in zip(("encoded", "decoded"), split, right, strict=True):
                found[f"{kind} {t}x{h}x{w}, by frames: {frugal}"] = off(a, b)
    return found


def check(size: int, name: str, sizes: list[tuple[int, int, int]]) -> None:
    for found in run(size, both_ways, name, sizes):
        assert len(found) == 4 * len(sizes)
        assert all(error <= 1e-5 for error in found.values()), found


@pytest.mark.parametrize("name", ARCHS)
def test_two_ranks_are_one_process_also_with_uneven_rows(name):
    check(2, name, [(2, 5, 3), (3, 2, 2), (1, 1, 2)])


@pytest.mark.slow
@pytest.mark.parametrize("name", [*ARCHS, "nano"])
def test_three_ranks_are_one_process(name):
    """One in the middle has neighbours on both sides; with two rows all three have all."""
    check(3, name, [(2, 7, 3), (1, 3, 2), (2, 2, 2), (1, 1, 2)])


def with_past_on_the_host(rank: int) -> dict[str, float | int | bool]:
    ranks, vae = Ranks(None, CPU), network("like Wan2.2's")
    latents = drawn(1, vae.arch.z, 3, 5, 2)
    with torch.inference_mode():
        right = vae.decode(latents)
        share = RowSplit(ranks).of(5)
        history = HostHistory(CPU, neighbours=share)
        parts = vae.decode_stream(share.mine(latents), history=history)
        found = torch.cat([share.all(part, 3) for part in parts], dim=2)
        history.close()
    conv = vae.decoder.conv1
    kept = sum(piece.shape[3] for piece in history.past(conv)) / 2
    return {"off": off(found, right), "rows kept": kept, "sent": "halo" in ranks.traffic}


def test_the_past_rests_in_shares_too():
    one, two = run(2, with_past_on_the_host)
    assert one["off"] <= 1e-5 and two["off"] <= 1e-5
    assert (one["rows kept"], two["rows kept"]) == (2 + 2, 3 + 2)  # its own, and one above and below
    assert one["sent"] and two["sent"]


def groups(rank: int) -> list[object]:
    split = RowSplit(Ranks(None, CPU))
    shares = [split.of(rows) for rows in (8, 3, 2, 1, 3)]
    return [share and (share.ranks.size, share.ranks.rank) for share in shares]


@pytest.mark.slow
def test_where_there_are_more_ranks_than_rows_groups_of_them_do_the_same():
    assert run(4, groups) == [
        [(4, 0), (2, 0), (2, 0), None, (2, 0)],
        [(4, 1), (2, 1), (2, 1), None, (2, 1)],
        [(4, 2), (2, 0), (2, 0), None, (2, 0)],
        [(4, 3), (2, 1), (2, 1), None, (2, 1)],
    ]
