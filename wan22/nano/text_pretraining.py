"""The text encoder learns to say the labels of a shot, before any video is learned.

One query and one linear head for each axis (label_heads.py), one class for each of its values and one for "not said".
Afterwards every axis is linearly readable in the contexts, so that a transformer need not learn to read. The heads are
thrown away. It knows no video.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import tokenizers
import torch
import torch.nn.functional as F
from torch import Tensor

from wan22.arch import UMT5Arch
from wan22.conditioning.text import Tokenizer
from wan22.models.umt5 import UMT5Encoder
from wan22.nano.captions import TEXT_LEN, Composed, label_classes
from wan22.nano.label_heads import LabelHeads
from wan22.nano.state import CPU, Optimiser, TrainState, walk
from wan22.nano.tokenizer import build_caption_tokenizer
from wan22.stage.caption import LANGUAGES, caption
from wan22.stage.labels import AXES, sample
from wan22.train.log import Log

_STRUCK = 0.02
"""Share of the words that are struck out in training, so that unknown ones do no harm."""
_PEAK = 4e-3
_CAPTIONS = 40_000


class LabelReader(LabelHeads):
    """A text encoder, and what reads the labels off its contexts."""

    def __init__(self, arch: UMT5Arch) -> None:
        super().__init__(arch.dim, more=1)
        self.text = UMT5Encoder(arch)

    def init_weights(self) -> None:
        """Draw fresh weights from torch's global generator."""
        super().init_weights()
        self.text.init_weights()

    def forward(self, ids: Tensor, mask: Tensor) -> list[Tensor]:
        """Logits (b, values + 1) for each axis in the order of `AXES`, of ids and mask (b, s); the last is "unsaid"."""
        return self.read(self.text(ids, mask), mask)


@dataclass(frozen=True)
class LabelAccuracy:
    """How well one axis is read in one language: the shares that are right where it is said, and where it is not."""

    axis: str
    language: str
    said: float
    unsaid: float


def caption_tokenizer(max_vocab: int, seed: int = 0) -> tokenizers.Tokenizer:
    """Return the tokenizer of training captions in all languages, of at most `max_vocab` entries."""
    words = random.Random(f"tokenizer {seed}")
    shots = sample(_CAPTIONS, seed=seed)
    return build_caption_tokenizer((caption(shot, words).text for shot in shots), max_vocab)


def pretrain_text_encoder(  # noqa: PLR0913 - each is a setting of the run
    arch: UMT5Arch,
    tokenizer: Tokenizer,
    folder: Path,
    *,
    steps: int,
    batch: int,
    seed: int,
    log: Log,
    read: int = 500,
    minutes: float | None = None,
    ahead: Composed | None = None,
    device: torch.device = CPU,
) -> tuple[TrainState, dict[str, Tensor]]:
    """Train a text encoder to say labels; return the run, and the encoder's state dict, float32.

    The last norm is scaled so that contexts have unit RMS over their elements, as fresh weights give and as the
    transformer's text embedding expects. Captions are composed at every step, or drawn from those composed `ahead`.
    `read` captions of each language, of combinations that no training sees, tell the log how well labels are read. The
    run is kept in `folder` and goes on from there; after `minutes` it stops. Raises CheckpointError if another run is
    in the folder.
    """
    torch.manual_seed(seed)
    reader = LabelReader(arch)
    reader.init_weights()
    reader.to(device)
    identity = {"seed": seed, "arch": repr(arch), "steps": steps, "batch": batch, "words": tokenizer.size}
    state = TrainState(
        reader, Optimiser(steps=steps, peak=_PEAK, warmup=min(100, steps // 5)), folder, identity
    )
    walk(state, lambda: _step_loss(reader, tokenizer, batch, state, ahead), log=log, minutes=minutes)
    reader.load_state_dict(state.averaged())
    for held_out in (False, True):
        log(f"{'held-out' if held_out else 'training'} phrasings, share right of what is said / not said:")
        accuracies = label_accuracy(reader, tokenizer, count=read, seed=seed, held_out=held_out)
        for line in table(accuracies):
            log(line)
    _normalise(reader, tokenizer, seed)
    return state, {name: tensor.detach().cpu().clone() for name, tensor in reader.text.state_dict().items()}


def _step_loss(
    reader: LabelReader, tokenizer: Tokenizer, batch: int, state: TrainState, ahead: Composed | None
) -> Tensor:
    device = reader.query_embedding.weight.device
    if ahead is not None:
        rows = torch.randint(len(ahead.ids), (batch,), generator=state.generator(1))
        ids, classes = ahead.ids[rows, 0].long(), ahead.classes[rows, 0].long()
        mask = (ids != tokenizer.pad_id).long()
    else:
        words = random.Random(f"{state.identity['seed']} {state.step}")
        shots = sample(batch, seed=words.getrandbits(48))
        captions = [caption(shot, words) for shot in shots]
        ids, mask = tokenizer.encode([made.text for made in captions], TEXT_LEN)
        classes = label_classes(shots, captions)
    strike = torch.rand(ids.shape, generator=state.generator()) < _STRUCK
    ids = torch.where(strike & (mask == 1) & (ids > 2), tokenizer.unknown_id, ids)
    logits, classes = reader(ids.to(device), mask.to(device)), classes.to(device)
    losses = [F.cross_entropy(rows, classes[:, i]) for i, rows in enumerate(logits)]
    return torch.stack(losses).sum()


@torch.no_grad()
def _normalise(reader: LabelReader, tokenizer: Tokenizer, seed: int) -> None:
    words = random.Random(f"norm {seed}")
    texts = [caption(shot, words).text for shot in sample(512, seed=seed)]
    device = reader.query_embedding.weight.device
    ids, mask = (part.to(device) for part in tokenizer.encode(texts, TEXT_LEN))
    contexts = torch.cat(reader.text.contexts(ids, mask))
    reader.text.norm.weight.div_(contexts.square().mean().sqrt())


@torch.no_grad()
def label_accuracy(
    reader: LabelReader, tokenizer: Tokenizer, *, count: int, seed: int, held_out: bool
) -> list[LabelAccuracy]:
    """How well `reader` reads `count` captions of each language, of combinations that no training sees."""
    accuracies = []
    for language in LANGUAGES:
        words = random.Random(f"read {seed} {language}")
        shots = sample(count, seed=seed, split="held-out")
        captions = [caption(shot, words, language=language, held_out=held_out) for shot in shots]
        ids, mask = tokenizer.encode([made.text for made in captions], TEXT_LEN)
        classes = label_classes(shots, captions)
        device = reader.query_embedding.weight.device
        read = [logits.cpu() for logits in reader(ids.to(device), mask.to(device))]
        for i, (axis, logits) in enumerate(zip(AXES, read, strict=True)):
            right = (logits.argmax(dim=-1) == classes[:, i]).float()
            said = classes[:, i] < len(AXES[axis])
            accuracies.append(
                LabelAccuracy(axis, language, float(right[said].mean()), float(right[~said].mean()))
            )
    return accuracies


def table(accuracies: Sequence[LabelAccuracy]) -> list[str]:
    """Readings as lines: an axis each, a column for each language."""
    cells = {(accuracy.axis, accuracy.language): accuracy for accuracy in accuracies}
    lines = [" " * 16 + "".join(f"{language:>16}" for language in LANGUAGES)]
    for axis in AXES:
        row = (cells[axis, language] for language in LANGUAGES)
        lines.append(f"{axis:16}" + "".join(f"{100 * r.said:8.1f}/{100 * r.unsaid:5.1f} " for r in row))
    return lines
