"""The transformer that is driven by poses and a face, Wan2.2-Animate: the base network, and what it is told besides.

The first latent frame is the reference image; a pose video, one latent frame shorter, is added to the others. A face
video is read after every fifth block, each latent frame its own; the reference's face is nothing. The features of the
image stand beside the text's in every block's cross-attention. None of it depends on the noise: `read_animate` and
`read_text` make it once a clip. Parameters bear the official names (spec: animate, sections 1 to 3).
"""

import math
from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from wan22.arch import DiTArch
from wan22.models.block import CrossAttention, Gain, Memory
from wan22.models.dit import ExtraTokens, PatchEmbedding, TextMemory, WanDiT
from wan22.models.face import FaceEncoder, MotionEncoder
from wan22.models.linear import Linear
from wan22.models.taps import add_by_frame
from wan22.ops.attention import Attention, attend
from wan22.ops.norm import layer_norm, rms_norm
from wan22.ops.rope import angles


class ImageCrossAttention(CrossAttention):
    """Every token attends to the text and, with the same query, to the image; the answers are added."""

    def __init__(self, dim: int, heads: int, eps: float) -> None:
        super().__init__(dim, heads, eps)
        self.k_img, self.v_img = Linear(dim, dim), Linear(dim, dim)
        self.norm_k_img = Gain(dim, eps)

    def read_both(
        self, text: Float[Tensor, "b s d"], bias: Tensor | None, image: Float[Tensor, "b i d"]
    ) -> Memory:
        """Project the embedded text and the embedded image to this block's keys and values."""
        k, v = (
            rearrange(part(image), "b i (n e) -> b i n e", n=self.heads) for part in (self.k_img, self.v_img)
        )
        return self.read(text, bias)._replace(image=(self.norm_k_img(k), v))

    def forward(self, x: Tensor, memory: Memory, attention: Attention) -> Tensor:
        q = self.norm_q(rearrange(self.q(x), "b l (n e) -> b l n e", n=self.heads))
        assert memory.image is not None
        text = attention(q, memory.k, memory.v, memory.bias)
        return self.o((text + attention(q, *memory.image, None)).flatten(2))


class Norm32(nn.LayerNorm):
    """A layer norm in float32, whatever its weight is stored in."""

    def forward(self, x: Tensor) -> Tensor:
        return layer_norm(x, self.weight, self.bias, self.eps)


class ImageEmbedding(nn.Module):
    """Features of an image to the width of the network."""

    def __init__(self, inward: int, dim: int) -> None:
        super().__init__()
        self.proj = nn.Sequential(
            Norm32(inward), Linear(inward, inward), nn.GELU(), Linear(inward, dim), Norm32(dim)
        )

    def forward(self, x: Float[Tensor, "b s c"]) -> Float[Tensor, "b s d"]:
        return self.proj(x)


class FaceMemory(NamedTuple):
    """What one tap knows of every frame's face: keys and values (b, t, m, n, e)."""

    k: Tensor
    v: Tensor


class FaceBlock(nn.Module):
    """One tap: the tokens of a latent frame attend to that frame's face; q and k are normed head by head."""

    def __init__(self, dim: int, heads: int, eps: float) -> None:
        super().__init__()
        self.heads, self.eps = heads, eps
        self.linear1_kv, self.linear1_q = Linear(dim, 2 * dim), Linear(dim, dim)
        self.linear2 = Linear(dim, dim)
        self.q_norm, self.k_norm = nn.RMSNorm(dim // heads, eps), nn.RMSNorm(dim // heads, eps)

    def read(self, face: Float[Tensor, "b t m d"]) -> FaceMemory:
        """Project the tokens of a face to this tap's keys and values."""
        both = self.linear1_kv(layer_norm(face, eps=self.eps))
        k, v = rearrange(both, "b t m (two n e) -> two b t m n e", two=2, n=self.heads)
        return FaceMemory(rms_norm(k, self.k_norm.weight, self.eps).to(v.dtype), v)

    def forward(
        self, x: Float[Tensor, "b t p d"], memory: FaceMemory, attention: Attention
    ) -> Float[Tensor, "b t p d"]:
        """What the tokens of some frames find in the faces of these frames."""
        q = rearrange(self.linear1_q(layer_norm(x, eps=self.eps)), "b t p (n e) -> (b t) p n e", n=self.heads)
        k, v = memory.k.flatten(0, 1), memory.v.flatten(0, 1)
        found = attention(rms_norm(q, self.q_norm.weight, self.eps).to(v.dtype), k, v, None)
        return self.linear2(found.flatten(2)).view(x.shape)


class FaceAdapter(nn.Module):
    """All taps, in order. Its blocks may be there one at a time, so nobody keeps one."""

    def __init__(self, arch: DiTArch, taps: int) -> None:
        super().__init__()
        self.fuser_blocks = nn.ModuleList(FaceBlock(arch.dim, arch.heads, 1e-6) for _ in range(taps))

    def tap(
        self,
        i: int,
        memory: FaceMemory,
        attention: Attention,
        tokens: int,
        x: Float[Tensor, "b l d"],
        chunk: int | None = None,
        first: int = 0,
    ) -> Float[Tensor, "b l d"]:
        """Add to the video's tokens, `tokens` of each frame, what they find by tap i (see `add_by_frame`)."""
        block = self.fuser_blocks[i]

        def found(frames: slice, own: Float[Tensor, "b t p d"]) -> Float[Tensor, "b t p d"]:
            return block(own, FaceMemory(memory.k[:, frames], memory.v[:, frames]), attention)

        return add_by_frame(found, tokens, x, chunk, first)


class AnimateDiT(WanDiT):
    """The network of animation. Its forward pass is the base's; `read_animate` makes what stands beside, and
    `read_text` takes the features of the image too.
    """

    cross_attention = ImageCrossAttention

    def __init__(self, arch: DiTArch, attention: Attention = attend) -> None:
        if arch.animate is None:
            raise ValueError("an AnimateDiT needs arch.animate")
        super().__init__(arch, attention)
        self.animate = arch.animate
        self.pose_patch_embedding = PatchEmbedding(self.animate.pose_channels, arch.dim)
        self.img_emb = ImageEmbedding(self.animate.image_dim, arch.dim)
        self.motion_encoder = MotionEncoder(self.animate)
        self.face_encoder = FaceEncoder(self.animate, arch.dim)
        self.face_adapter = FaceAdapter(arch, len(self.animate.taps(arch.layers)))

    def read_text(
        self,
        contexts: Sequence[Float[Tensor, "_ text"]],
        lengths: Sequence[int] | None = None,
        image: Float[Tensor, "b s c"] | None = None,
    ) -> TextMemory:
        """As the base, with the features of each sample's image; raises ValueError without them, or of other sizes."""
        wanted = (len(contexts), self.animate.image_tokens, self.animate.image_dim)
        if image is None or image.shape != wanted:
            given = None if image is None else tuple(image.shape)
            raise ValueError(
                f"this network reads the features of an image, {wanted}, beside the text; not {given}"
            )
        (text, bias), shown = self.embed_text(contexts, lengths), self.img_emb(image)
        return tuple(block.cross_attn.read_both(text, bias, shown) for block in self.blocks)

    def read_animate(self, pose: Float[Tensor, "b p s h w"], face: Float[Tensor, "b 3 T i i"]) -> ExtraTokens:
        """Read what drives a clip: latents of its poses, pixels of its faces in [-1, 1], T = 4 (s - 1) + 1.

        The noisy latents have one frame more, the reference's, which comes first. Raises ValueError if the faces are
        of another size than arch.animate.face_size, or not as long as the poses.
        """
        tokens = math.prod(self.grid(pose)[1:])
        added = self.pose_patch_embedding(pose)
        nothing = added.new_zeros(added.shape[0], tokens, added.shape[2])
        memory = self.read_face(face)
        if memory.shape[1] != 1 + pose.shape[2]:
            raise ValueError(
                f"{face.shape[2]} frames of faces are {memory.shape[1] - 1} latent frames; the poses have "
                f"{pose.shape[2]}"
            )
        cos, sin = angles(torch.zeros(0, 3, dtype=torch.float64), self.arch.dim // self.arch.heads)
        return ExtraTokens(
            torch.cat([nothing, added], dim=1),
            added.new_zeros(added.shape[0], 0, added.shape[2]),
            (cos.to(pose.device), sin.to(pose.device)),
            self._taps(memory, tokens),
        )

    def _taps(self, face: Tensor, tokens: int) -> dict[int, partial]:
        """tokens: of the video, in a frame."""
        adapter, after = self.face_adapter, self.animate.taps(self.arch.layers)
        memories = [block.read(face) for block in adapter.fuser_blocks]
        return {
            block: partial(adapter.tap, i, memory, self.attention, tokens)
            for i, (block, memory) in enumerate(zip(after, memories, strict=True))
        }

    def read_face(self, face: Float[Tensor, "b 3 T i i"]) -> Float[Tensor, "b t m d"]:
        """Tokens of the face in every latent frame; those of the reference, which come first, are zero."""
        motion = self.motion_encoder(rearrange(face, "b c t h w -> (b t) c h w"))
        tokens = self.face_encoder(motion.unflatten(0, (face.shape[0], face.shape[2])))
        return torch.cat([torch.zeros_like(tokens[:, :1]), tokens], dim=1)
