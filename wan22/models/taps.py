"""Taps that read a condition frame by frame: the video's tokens of each latent frame see what belongs to that frame."""

from collections.abc import Callable

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor

from wan22.ops.attention import slices

Found = Callable[[slice, Float[Tensor, "b t p d"]], Float[Tensor, "b t p d"]]
"""What neighbouring tokens find: the latent frames that they are of, and p tokens of each."""


def add_by_frame(
    found: Found, tokens: int, x: Float[Tensor, "b l d"], chunk: int | None = None, first: int = 0
) -> Float[Tensor, "b l d"]:
    """Add to the video's tokens, `tokens` of each frame, what they find: to x itself where no gradient is asked, and
    then for as many frames at a time as `chunk` tokens are. x begins with token `first` of the video.
    """
    if not x.shape[1]:
        return x
    few = None if chunk is None or torch.is_grad_enabled() else max(1, chunk // tokens)
    sums = []
    for part, frames in _by_frame(first, x.shape[1], tokens, few):
        own = rearrange(x[:, part], "b (t p) d -> b t p d", t=frames.stop - frames.start)
        more = found(frames, own)
        if torch.is_grad_enabled():
            sums.append((own + more).flatten(1, 2))
        else:
            own += more
    return torch.cat(sums, dim=1) if torch.is_grad_enabled() else x


def _by_frame(first: int, length: int, tokens: int, few: int | None) -> list[tuple[slice, slice]]:
    """Cut `length` tokens, which begin with token `first` of a video of so many a frame, where frames do: parts of one
    frame, or of whole ones, at most `few`; and the frames of each part.
    """
    end = first + length
    begin, after = -(-first // tokens), end // tokens  # whole frames
    if begin > after:  # within one frame
        return [(slice(0, length), slice(after, after + 1))]
    parts = [(first, begin * tokens, slice(begin - 1, begin))]
    parts += [
        ((begin + s.start) * tokens, (begin + s.stop) * tokens, slice(begin + s.start, begin + s.stop))
        for s in slices(after - begin, few)
    ]
    parts += [(after * tokens, end, slice(after, after + 1))]
    return [(slice(a - first, b - first), frames) for a, b, frames in parts if b > a]
