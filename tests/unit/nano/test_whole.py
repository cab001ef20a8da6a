"""The whole recipe in miniature: every part is done, goes on after any stop, and leaves a model beside what ships."""

import json
import random
from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file

import wan22
from wan22.arch import DiTArch, UMT5Arch, VAEArch
from wan22.catalog import to_json
from wan22.conditioning.text import Tokenizer
from wan22.errors import OutputError
from wan22.models.dit import WanDiT
from wan22.models.vae import WanVAE
from wan22.nano import stages, text_pretraining, whole
from wan22.nano.__main__ import main
from wan22.nano.captions import compose
from wan22.nano.recipes import nano
from wan22.nano.run import Run, Size
from wan22.nano.sizing import PARTS
from wan22.stage.caption import caption
from wan22.stage.labels import sample
from wan22.train.muon import Muon

pytestmark = pytest.mark.slow

CPU = torch.device("cpu")
DIT = DiTArch(4, 4, 16, 16, heads=2, layers=1, text_dim=8, text_len=64, freq_dim=8)
VAE = VAEArch(
    z=4, encoder_width=4, decoder_width=4, multipliers=(1, 1, 1), blocks=1, temporal=(True, True), patch=2,
    residual=True, mean=(0.0,) * 4, std=(1.0,) * 4,
)  # fmt: skip
FEW = tuple(replace(part, least=1, most=2) for part in PARTS)


@pytest.fixture
def small(monkeypatch, tmp_path):
    """The recipe with tiny networks, few and small videos, and an edition before it that is as tiny."""
    one = nano.Videos(64, 64, count=2, seed=31, share=1.0)
    sets = {
        "SMALL": replace(one, width=32, height=32, seed=30),
        "VIDEOS": (one,),
        "REWARD_MODEL_VIDEOS": (one,),
    }
    for name, value in {"DIT": DIT, "VAE": VAE, **sets}.items():
        monkeypatch.setattr(nano, name, value)
    monkeypatch.setattr(nano, "text", lambda vocab: UMT5Arch(vocab, 8, 8, 8, heads=2, layers=1))
    monkeypatch.setattr(text_pretraining, "_CAPTIONS", 300)
    monkeypatch.setattr(stages, "_READ", 20)
    monkeypatch.setattr(stages, "_SPOKEN", 2)
    monkeypatch.setattr(whole, "CLIPS", 2)
    monkeypatch.setattr(whole, "_READ", 2)
    decoder = nano.decoder(VAE)
    monkeypatch.setattr(
        nano, "decoder", lambda arch: replace(decoder, arch=arch, shapes=((1, 5, 32, 32, 1.0),))
    )
    # Random weights give latents of any size, which would be refused as normalised wrongly.
    monkeypatch.setattr(stages, "latent_set", normalised)
    former = tmp_path / "former"
    former.mkdir()
    torch.manual_seed(0)
    parts = {"high_noise_model": WanDiT(DIT), "low_noise_model": WanDiT(DIT), "vae": WanVAE(VAE)}
    for name, network in parts.items():
        weights = {key: value.contiguous() for key, value in network.state_dict().items()}
        save_file(weights, former / f"{name}.safetensors")
    (former / "variant.json").write_text(json.dumps(to_json(nano.variant(VAE, 50))))
    monkeypatch.setattr(stages, "EMBEDDED", former)
    return tmp_path / "run"


real_latent_set = stages.latent_set


def normalised(path, *, mean, std, **more):
    from wan22.nano.latents import statistics

    mean, std = statistics(path)
    return real_latent_set(path, mean=mean, std=std, **more)


@pytest.fixture
def evaluated(monkeypatch):
    """What is asked of the evaluation, which takes its time and has its own tests."""
    asked = []

    def evaluate(recipe, folder, *, log):
        asked.append(recipe)
        folder.mkdir(parents=True)
        made = recipe.model != "nano"
        found = {
            "videos": recipe.count,
            "adherence": {"tone": {"matches": 1 + made, "of": 2}, "time": {"matches": 0, "of": 2}},
            "vae": {"psnr": 32.0 + made},
            "loss": {"by_expert": {"high": 0.5, "low": 0.4 - 0.1 * made}},
        }
        (folder / "eval.json").write_text(json.dumps(found))

    monkeypatch.setattr(whole, "evaluate", evaluate)
    return asked


class Clock:
    """Every look at it is a second later."""

    time = 0.0

    def __call__(self):
        self.time += 1.0
        return self.time


def test_all_parts_are_done_and_go_on_after_every_stop(small, evaluated, tmp_path):
    said, stops = (
        [],
        {"part text", "part high:", "part decoder-more", "part export", "part fast", "part compare"},
    )

    def log(line):
        said.append(line)
        if due := [stop for stop in stops if line.startswith(stop)]:
            stops.difference_update(due)
            raise KeyboardInterrupt

    arguments = {"log": log, "parts": FEW, "each": lambda name, run: 5.0, "now": Clock()}
    while stops:
        with pytest.raises(KeyboardInterrupt):
            whole.make(small, 8.0, CPU, **arguments)
        before = json.loads((small / "plan.json").read_text())["parts"]
    model = whole.make(small, 8.0, CPU, export=tmp_path / "exported", **arguments)
    after = json.loads((small / "plan.json").read_text())["parts"]
    assert list(after) == [part.name for part in PARTS] and all(done["spent"] for done in after.values())
    assert {name: done["units"] for name, done in before.items()}.items() <= {
        name: done["units"] for name, done in after.items()
    }.items()
    assert said.count("part sketch: 2 steps, 5.0000 s each") == 1, "what is done is not done again"

    assert [recipe.model for recipe in evaluated] == ["nano", str(model)]
    assert {recipe.count for recipe in evaluated} == {2}
    table = [line.split() for line in said if "of the expert low" in line or "as asked" in line]
    assert [row[-2:] for row in table] == [["25.0%", "50.0%"], ["0.4000", "0.3000"]]
    assert f"bench.quality --count 200 --vae --model {model}" in said[-2]

    for folder in (model, tmp_path / "exported"):
        engine = wan22.load(folder, device="cpu")
        assert engine.variant.fast is not None and not list(folder.glob(".*"))
        request = wan22.Request(prompt="a red ball", steps=1, frames=5, size=(64, 64))
        assert any(isinstance(event, wan22.types.Finished) for event in engine.generate(request))
    assert not [path for path in small.rglob("*") if path.name.endswith(".part")]

    # To try a part leaves nothing of it.
    run, files = (
        Run(small, log, size=Size(captions=whole._CAPTIONS, compiled=False)),
        sorted(small.rglob("*")),
    )
    assert whole.tried("low", run, seconds=1e-9, now=Clock()) > 0
    assert whole.tried("clips", run, seconds=1e-9, now=Clock()) == 1 / 4
    assert sorted(small.rglob("*")) == files


def test_an_export_replaces_a_model_and_nothing_else(tmp_path):
    model, place = tmp_path / "model", tmp_path / "place"
    for folder in (model, place):
        folder.mkdir()
    (model / "variant.json").write_text("new")
    (place / "notes.txt").write_text("mine")
    with pytest.raises(OutputError, match="holds something that is no model"):
        whole.make(tmp_path / "run", 8, CPU, log=print, export=place)
    (place / "variant.json").write_text("old")
    whole._check_place(place)
    whole._export(model, place)
    assert (place / "variant.json").read_text() == "new" and (place / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("all", "needs --minutes"),
        ("all --minutes 8 --stage high", "--stage is for one recipe"),
        ("nano --export place", "--export is for all"),
        ("nano-fast --device cuda", "nano-fast learns on the cpu"),
        ("all --minutes 0", "--minutes must be above 0"),
        ("everything", "Known: all, nano"),
    ],
)
def test_what_cannot_be_is_said(words, said, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(words.split()) == 2
    assert said in capsys.readouterr().err and not list(tmp_path.iterdir())


def test_captions_ahead_are_those_of_their_clip_and_do_not_depend_on_who_composes(tmp_path):
    from wan22.catalog import EMBEDDED

    shots = sample(3, seed=1)
    made = compose(shots, EMBEDDED / "tokenizer.json", 2, seed=5)
    assert made.ids.shape == (3, 2, 64) and made.classes.shape[:2] == (3, 2)
    assert torch.equal(compose(shots[:2], EMBEDDED / "tokenizer.json", 2, seed=5).ids, made.ids[:2])
    words = Tokenizer.open(EMBEDDED / "tokenizer.json")
    text = caption(shots[2], random.Random("composed 5 2 1")).text
    assert torch.equal(words.encode([text], 64)[0][0], made.ids[2, 1].long())


def test_matrices_of_one_shape_are_made_orthogonal_together_as_each_alone():
    def moved(together):
        torch.manual_seed(0)
        found = [torch.nn.Parameter(torch.randn(shape)) for shape in ((6, 4), (4, 6), (6, 4), (6, 2, 2))]
        for p in found:
            p.grad = torch.randn_like(p)
        for some in [found] if together else [[p] for p in found]:
            Muon(some, lr=0.1).step()
        return found

    for one, other in zip(moved(True), moved(False), strict=True):
        torch.testing.assert_close(one, other, rtol=0.02, atol=1e-3)
