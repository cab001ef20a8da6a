"""`wan22 eval`: what a recipe may say, what fails before any video, what is measured, and going on after a stop."""

import json
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
from unit.tiny import write_tiny

import wan22
from wan22.cli.__main__ import main
from wan22.errors import MediaError, OptionError
from wan22.media.audio import write_audio
from wan22.media.image import write_image
from wan22.media.video import VideoWriter
from wan22.models.dit import WanDiT
from wan22.stage import Shot, render
from wan22.train.evaluation.bands import SIGMAS, band_losses, expert_at, fixed_noise
from wan22.train.evaluation.extractors import Extractor, open_extractor
from wan22.train.evaluation.recipe import KEYS, load_eval_recipe
from wan22.train.evaluation.report import adherence, summary, table, unknown
from wan22.train.evaluation.run import evaluate
from wan22.train.evaluation.video_scores import compare, look, loudness, verdicts
from wan22.train.losses import Batch
from wan22.types import Audio, Clip

pytest.importorskip("cv2")

EXTRACTORS = """
import numpy as np
def colours(frames): return frames.reshape(len(frames), -1, 3).mean(axis=1)
def clip(frames): return colours(frames).mean(axis=0)
def light(frames): return frames.mean(axis=(1, 2, 3))
def wrong(frames): return np.zeros((1, 2, 3))
def endless(frames): return np.full((len(frames), 2), np.inf)
"""


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return write_tiny(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture
def folder(tmp_path, model, request):
    """A recipe's folder: real clips with what they show, prompts, an audio file, extractors of this test's own name."""
    rng = np.random.default_rng(0)
    clips = tmp_path / "clips"
    clips.mkdir()
    for i in range(2):
        frames = (60 * i + 80 + 20 * rng.normal(size=(9, 40, 64, 3))).clip(0, 255).astype(np.uint8)
        with VideoWriter(clips / f"{i}.mp4", fps=8.0, size=(64, 40)) as writer:
            writer.add(frames)
            writer.close(None)
    (clips / "0.txt").write_text("a red ball rolls left")
    lines = [
        {"prompt": "a red ball rolls left", "labels": {"colour": "red"}, "audio": "beat.wav"},
        {"prompt": "a blue cube", "image": "first.png"},
    ]
    (tmp_path / "prompts.jsonl").write_text("\n".join(json.dumps(line) for line in lines))
    write_image(tmp_path / "first.png", np.full((32, 48, 3), 200, np.uint8))
    write_audio(tmp_path / "beat.wav", Audio(np.sin(np.arange(16_000) / 9).astype(np.float32), 16_000))
    (tmp_path / "mine_of_this_test.py").write_text(EXTRACTORS)
    return tmp_path


def recipe(folder, model, text="", **change):
    values = {"model": str(model), "frames": 5, "steps": 2, "size": [48, 32], **change}
    lines = [f"{name} = {json.dumps(value)}" for name, value in values.items() if value is not None]
    path = folder / "recipe.toml"
    path.write_text("\n".join(lines) + "\n" + text)
    return path


def quiet(_):
    pass


# What a recipe may say


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("promts = 'x'", "Did you mean 'prompts'"),
        ("[loss]\nsigma = [0.5]", "Did you mean 'sigmas'"),
        ("[extractors]\nfdi = 'a:b'", "unknown extractor 'fdi'"),
        ("loras = [{file = 'x', strenght = 1}]", "Did you mean 'strength'"),
        ("loras = 'missing.safetensors'", "there is no LoRA"),
        ("count = 0", "1 or more"),
        ("count = true", "count must be int"),
        ("steps = 'many'", "steps must be int"),
        ("size = [1, 2, 3]", "two numbers"),
        ("task = 'audio'", "unknown task"),
        ("[loss]\nsigmas = [0.0]", "above 0"),
        ("[loss]\nseeds = 0", "1 or more"),
        ("references = 'nowhere'", "there is no folder of references"),
        ("[extractors]\nfid = 'missing.pt'", "there is no extractor"),
        ("[extractors]\nfid = 'no_such_module:f'", "cannot be imported"),
        ("[extractors]\nfid = 'mine_of_this_test:missing'", "no function 'missing'"),
        ("[extractors]\nfid = 'colours'", "module:function"),
        ("[extractors]\nfid = {extractor = 'mine_of_this_test:colours', scale = '0..1'}", "are for files"),
        ("[extractors]\nfvd = 'mine_of_this_test:clip'", "FVD needs at least 16"),
        ("prompts = 'prompts.jsonl'\n[extractors]\nfid = 'mine_of_this_test:colours'", "real clips"),
        ("[extractors]\nsync = 'mine_of_this_test:light'", "name an audio file"),
    ],
)
def test_a_mistake_in_a_recipe_is_named(folder, text, says):
    path = folder / "bad.toml"
    path.write_text(("" if "count" in text else "count = 2\n") + text)
    with pytest.raises(OptionError, match=says):
        load_eval_recipe(path)


@pytest.mark.parametrize(
    ("file", "content", "says"),
    [
        ("p.txt", "\n \n", "holds no prompt"),
        ("p.jsonl", "{", "line 1 is no JSON"),
        ("p.jsonl", '["a"]', 'needs an object with a "prompt"'),
        ("p.jsonl", '{"prompt": "x", "image": "no.png"}', "there is no image"),
        ("p.jsonl", '{"prompt": "x", "labels": ["red"]}', "line 1: labels are values by axis"),
        ("p.jsonl", None, "does not exist"),
    ],
)
def test_prompts_that_cannot_be_read_are_named(folder, file, content, says):
    if content is not None:
        (folder / file).write_text(content)
    path = folder / "bad.toml"
    path.write_text(f"prompts = '{file}'")
    with pytest.raises(MediaError, match=says):
        load_eval_recipe(path)
    path.write_text("= 3")
    with pytest.raises(MediaError, match="is no TOML"):
        load_eval_recipe(path)


def test_a_label_that_is_misspelt_is_refused_with_file_and_line(folder):
    (folder / "p.jsonl").write_text('{"prompt": "x"}\n{"prompt": "a red ball", "labels": {"colour": "reed"}}')
    (folder / "bad.toml").write_text("prompts = 'p.jsonl'")
    said = r"unknown colour of labels in p\.jsonl, line 2, 'reed'\. Did you mean 'red'\?"
    with pytest.raises(OptionError, match=said):
        load_eval_recipe(folder / "bad.toml")


def test_a_recipe_is_read_with_files_relative_to_it(folder, model):
    path = recipe(
        folder, model, "[loss]\nsigmas = [0.5, 1]\n", prompts="prompts.jsonl", references="clips", guidance=3
    )
    found = load_eval_recipe(path)
    assert (found.videos, found.steps, found.size, found.guidance) == (2, 2, (48, 32), 3.0)
    assert found.prompt_list[1].image == folder / "first.png" and found.prompt_list[0].labels == {
        "colour": "red"
    }
    assert [clip.name for clip in found.clips] == ["0.mp4", "1.mp4"]
    assert found.loss is not None and found.loss.sigmas == (0.5, 1.0)
    path.write_text("loss = false")
    assert load_eval_recipe(path).loss is None
    assert "references" in KEYS


# Extractors


def test_a_torchscript_file_gets_the_layout_scale_and_arguments_it_names(tmp_path):
    class Mean(torch.nn.Module):
        def forward(self, x: torch.Tensor, twice: bool = False) -> torch.Tensor:
            return x.mean(dim=[2, 3, 4]) * (2.0 if twice else 1.0)

    with pytest.warns(DeprecationWarning):
        torch.jit.script(Mean()).save(str(tmp_path / "mean.pt"))
    said = {"extractor": "mean.pt", "layout": "1 c t h w", "scale": "0..1", "arguments": {"twice": True}}
    frames = np.full((4, 8, 8, 3), 51, np.uint8)
    assert open_extractor("fvd", said, tmp_path)(frames) == pytest.approx([0.4] * 3)
    with pytest.raises(OptionError, match="layout must name"):
        open_extractor("fvd", {**said, "layout": "t h w"}, tmp_path)
    (tmp_path / "broken.pt").write_bytes(b"x" * 64)
    with pytest.raises(OptionError, match="not a TorchScript file"):
        open_extractor("fvd", "broken.pt", tmp_path)


FORMS = [
    ("fid", "wrong", "one vector for each"),
    ("identity", "endless", "finite"),
    ("sync", "wrong", "one number"),
    ("fvd", "colours", r"one vector \(d,\)"),
]


@pytest.mark.parametrize(("kind", "name", "says"), FORMS)
def test_features_of_another_form_are_refused(folder, kind, name, says):
    extractor = open_extractor(kind, f"mine_of_this_test:{name}", folder)
    with pytest.raises(MediaError, match=says):
        extractor(np.zeros((4, 8, 8, 3), np.uint8))


# Validation loss


@pytest.fixture(scope="module")
def engine(model):
    return wan22.load(model, device="cpu")


def held(engine, count=3):
    videos = torch.randn(count, 4, 2, 4, 6, generator=torch.Generator().manual_seed(5))
    return Batch(videos, engine.encode_text(["a red ball", "a blue cube", ""][:count]))


def test_the_loss_of_a_video_does_not_depend_on_who_is_beside_it(engine):
    network, batch = engine.expert("high"), held(engine)
    alone = replace(batch, videos=batch.videos[:1], texts=batch.texts[:1])
    whole = band_losses(network, batch, engine.variant, sigmas=(0.2, 0.9), seeds=2)
    assert whole.shape == (2, 3)
    assert torch.allclose(
        whole[:, :1], band_losses(network, alone, engine.variant, sigmas=(0.2, 0.9), seeds=2)
    )
    assert torch.allclose(whole[1:], band_losses(network, batch, engine.variant, sigmas=(0.9,), seeds=2))


def test_a_network_that_knows_the_video_and_the_noise_loses_nothing(engine):
    batch = held(engine, 2)

    class Knowing(WanDiT):
        def forward(self, x, levels, text, channels=None, extra_tokens=None):
            noise = torch.stack([fixed_noise(batch.videos.shape[1:], 0, row) for row in range(2)])
            return noise - batch.videos

    assert band_losses(Knowing(engine.variant.dit), batch, engine.variant, sigmas=SIGMAS).abs().max() == 0


def test_every_level_has_the_expert_that_the_engine_would_take(engine):
    assert [expert_at(sigma, engine.variant) for sigma in (0.89, 0.9, 1.0)] == ["low", "high", "high"]
    assert expert_at(0.1, replace(engine.variant, boundary=None)) == "high"


NO_BANDS = [((1.5,), 1, "up to 1"), ((), 1, "noise levels"), ((0.5,), 0, "seed")]


@pytest.mark.parametrize(("sigmas", "seeds", "says"), NO_BANDS)
def test_levels_and_seeds_that_cannot_be_are_refused(engine, sigmas, seeds, says):
    with pytest.raises(OptionError, match=says):
        band_losses(engine.expert("high"), held(engine), engine.variant, sigmas=sigmas, seeds=seeds)


# One video's numbers


def test_loudness_is_taken_over_each_video_frame_and_is_zero_after_the_end():
    samples = np.concatenate([np.zeros(1000), np.full(1000, 0.5)]).astype(np.float32)
    assert loudness(Audio(samples, 8000), 4, 8.0).tolist() == [0.0, 0.5, 0.0, 0.0]


def test_equal_videos_have_a_finite_decibel():
    video = np.full((2, 16, 16, 3), 9, np.uint8)
    assert compare(video, video) == {"psnr": pytest.approx(100), "worst": 100, "ssim": pytest.approx(1)}


def test_identity_and_sync_are_those_of_the_extractors():
    beat = (np.arange(16) % 4 == 0).astype(np.float64)
    frames = (40 + 100 * np.roll(beat, 1)[:, None, None, None] * np.ones((16, 32, 32, 3))).astype(np.uint8)
    audio = Audio(np.repeat(beat, 1000).astype(np.float32), 8000)
    extractors = {
        "identity": Extractor("identity", "here", lambda f: f[:, 0, 0].astype(float)),
        "sync": Extractor("sync", "here", lambda f: f.mean(axis=(1, 2, 3))),
    }
    numbers, features = look(Clip(frames, 8.0), {}, extractors, audio=audio)
    assert numbers["identity"] == {"mean": pytest.approx(1), "least": pytest.approx(1)}
    assert numbers["sync"] == {"frames": 1, "seconds": 0.125, "correlation": pytest.approx(1)}
    assert numbers["drift"].keys() >= {"brightness", "identity"} and features == {}


def test_adherence_counts_what_was_judged_and_leaves_out_the_rest():
    def video(*verdicts):
        return {
            "verdicts": [{"axis": axis, "asked": "", "measured": "", "matches": o} for axis, o in verdicts]
        }

    rows = [video(("tone", True), ("lens", None)), video(("tone", False), ("time", True)), {}]
    assert adherence(rows, [video(("tone", True))]) == {
        "tone": {"videos": 0.5, "matches": 1, "of": 2, "references": 1.0},
        "time": {"videos": 1.0, "matches": 1, "of": 1},
    }


# The whole


ALL = """
[loss]
sigmas = [0.3, 0.95]
clips = 2
[extractors]
identity = 'mine_of_this_test:colours'
sync = 'mine_of_this_test:light'
"""


def prompts_with_images(folder):
    (folder / "prompts.jsonl").write_text(
        '{"prompt": "a red ball rolls left", "labels": {"camera": "static", "tone": "warm", "saturation": "normal"}}\n'
        '{"prompt": "a blue cube", "image": "first.png"}'
    )


@pytest.mark.slow
def test_a_recipe_gives_videos_numbers_a_table_and_a_plot(folder, model, capsys):
    pytest.importorskip("matplotlib")
    prompts_with_images(folder)
    path = recipe(
        folder, model, ALL.replace("sync", "fid").replace(":light", ":colours"),
        prompts="prompts.jsonl", references="clips", count=2, frames=9,
    )  # fmt: skip
    assert main(["eval", str(path)]) == 0
    out = capsys.readouterr().out
    result = json.loads((folder / "recipe.eval" / "eval.json").read_text())
    asked = [v["axis"] for row in numbers(folder / "recipe.eval") for v in row["verdicts"]]
    judged = {axis: row["of"] for axis, row in result["adherence"].items()}
    assert result["videos"] == 2 and asked and result["unknown"], "what a video of noise shows is not known"
    assert Counter(asked) == Counter(judged) + Counter(result["unknown"])
    assert f"unknown: {next(iter(result['unknown']))} of " in out
    assert [band["expert"] for band in result["loss"]["bands"]] == ["low", "high"]
    assert result["first_frame"]["of"] == 1 and result["vae"]["of"] == 2
    assert result["fid"]["samples"] == [18, 18]
    assert "validation" not in out and "noise level" in out and "identity: cosine" in out
    assert sorted(p.name for p in (folder / "recipe.eval" / "videos").iterdir())[:3] == [
        "00000.json",
        "00000.mp4",
        "00000.npz",
    ]
    assert (folder / "recipe.eval" / "eval.png").stat().st_size > 10_000


def numbers(folder):
    """What is kept of every video of an evaluation."""
    return [json.loads(path.read_text()) for path in sorted((folder / "videos").glob("*.json"))]


def test_a_video_of_the_film_set_is_judged_and_one_of_noise_is_unknown():
    shot = Shot(colour="red", action="travel-left", time="day", camera="static", light_direction="right")
    known = Clip(render([shot], frames=9, fps=4).numpy()[0], 4)
    noise = Clip(np.random.default_rng(0).integers(0, 255, known.frames.shape, dtype=np.uint8), 4)
    rows = [
        {"verdicts": verdicts(clip, {"colour": "red", "action": "travel-left"})} for clip in (known, noise)
    ]
    right = {"videos": 1.0, "matches": 1, "of": 1}
    assert adherence(rows) == {"colour": right, "action": right}
    assert unknown(rows) == {"colour": 1, "action": 1}
    wrong = [{"verdicts": verdicts(known, {"colour": "blue"})}]
    assert adherence(wrong)["colour"] == {"videos": 0.0, "matches": 0, "of": 1} and not unknown(wrong)


@pytest.mark.slow
def test_an_evaluation_goes_on_where_it_stopped_and_gives_the_same(folder, model, monkeypatch):
    prompts_with_images(folder)
    asked = load_eval_recipe(recipe(folder, model, prompts="prompts.jsonl", references="clips", loss=None))
    asked = replace(asked, loss=None)
    made, more = [], []

    def stop_after_one(line):
        made.append(line)
        if len(made) == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        evaluate(asked, folder / "stopped", log=stop_after_one)
    again = evaluate(asked, folder / "stopped", log=made.append)
    whole = evaluate(asked, folder / "whole", log=quiet)
    for result in (again, whole):
        result.pop("seconds_per_video")
    assert again == whole
    for numbers in (folder / "whole" / "videos").glob("*.json"):  # as an earlier version wrote them
        numbers.write_text(
            numbers.read_text().replace('"verdicts"', '"obeyed"').replace('"matches"', '"obeyed"')
        )
    older = evaluate(asked, folder / "whole", log=quiet)
    assert older["adherence"] == whole["adherence"]
    count_videos = lambda line: more.extend([line] if line.startswith("video") else [])  # noqa: E731
    evaluate(replace(asked, count=3), folder / "whole", log=count_videos)
    assert len(more) == 1
    with pytest.raises(OptionError, match="steps differ"):
        evaluate(replace(asked, steps=3), folder / "whole", log=quiet)
    evaluate(replace(asked, steps=3, count=1), folder / "whole", log=count_videos, restart=True)
    assert len(more) == 2


@pytest.mark.parametrize(
    ("change", "text", "error", "says"),
    [
        ({"frames": 60}, "", MediaError, "lasts"),
        ({}, "[extractors]\nidentity = 'mine_of_this_test:wrong'", MediaError, "one vector for each"),
        ({"prompts": "sounding.jsonl"}, "", wan22.Wan22Error, "audio"),
        ({"steps": 5000}, "", wan22.Wan22Error, "steps"),
    ],
)
def test_what_cannot_be_fails_before_any_video(folder, model, change, text, error, says):
    (folder / "prompts.jsonl").write_text('{"prompt": "a red ball"}')
    (folder / "sounding.jsonl").write_text('{"prompt": "a red ball", "audio": "beat.wav"}')
    path = recipe(folder, model, text, **{"prompts": "prompts.jsonl", "references": "clips", **change})
    with pytest.raises(error, match=says):
        evaluate(load_eval_recipe(path), folder / "out", log=quiet)
    assert not (folder / "out" / "videos").exists()


def test_videos_that_begin_with_real_images(folder, model):
    (folder / "prompts.jsonl").write_text('{"prompt": "a red ball"}')
    path = recipe(
        folder, model, "[loss]\nsigmas=[0.5]", prompts="prompts.jsonl", references="clips", task="image"
    )
    result = evaluate(load_eval_recipe(path), folder / "out", log=quiet)
    assert result["first_frame"]["of"] == 1
    assert any("first frame against the given one" in line for line in table(result))


def test_videos_alone_need_no_references(folder, model):
    (folder / "prompts.txt").write_text("a red ball\n\na blue cube\n")
    result = evaluate(
        load_eval_recipe(recipe(folder, model, prompts="prompts.txt")), folder / "out", log=quiet
    )
    assert result["videos"] == 2 and "loss" not in result
    assert result["notes"] == ["no validation loss: there are no references"]


def test_a_summary_of_videos_and_features_has_a_distance():
    rng = np.random.default_rng(0)
    videos = [({"seconds": 1.0, "motion": 2.0}, {"fvd": rng.normal(size=3)}) for _ in range(20)]
    result = summary(videos, videos, None)
    assert result["fvd"]["value"] == pytest.approx(0, abs=1e-6)
    assert any(line.startswith("FVD: 0.000") for line in table(result))


def test_what_is_scaled_and_why_nothing_is_judged_is_noted_before_the_first_video(folder, model):
    (folder / "prompts.txt").write_text("a red ball")
    said = []
    path = recipe(folder, model, prompts="prompts.txt", frames=4, size=[50, 32])
    result = evaluate(load_eval_recipe(path), folder / "out", log=said.append)
    assert result["adherence"] == {} and len(result["notes"]) >= 3
    assert "50x32" in result["notes"][0] and "no validation loss" in result["notes"][-1]
    assert any("measured from 5 frames on, and these have 4" in note for note in result["notes"])
    assert said[0] == f"note: {result['notes'][0]}" and said[-1].startswith("video 1 of 1")
    assert f"note: {result['notes'][0]}" in table(result)


def test_an_output_that_is_a_file_is_refused_before_any_work(folder, model, capsys, monkeypatch):
    monkeypatch.setattr("wan22.train.evaluation.run.load", lambda *_, **__: pytest.fail("a model was loaded"))
    (folder / "prompts.txt").write_text("a red ball")
    path = recipe(folder, model, prompts="prompts.txt")
    assert main(["eval", str(path), "-o", str(folder / "prompts.txt")]) == 2
    err = capsys.readouterr().err
    assert "prompts.txt is a file, not a folder" in err and len(err.splitlines()) == 1


def test_recipes_with_old_names_are_read_with_a_notice(folder):
    (folder / "old.jsonl").write_text(
        json.dumps({"prompt": "a ball", "image": "first.png", "sound": "beat.wav"})
    )
    (folder / "old.toml").write_text('task = "picture"\nprompts = "old.jsonl"\n')
    notices = []
    recipe = load_eval_recipe(folder / "old.toml", notices.append)
    assert recipe.task == "image" and recipe.prompt_list[0].audio == folder / "beat.wav"
    assert ['"picture" is now task = "image"' in notices[0], "sound is now called audio" in notices[1]] == [
        True,
        True,
    ]
    assert len(notices) == 2
    both = json.dumps({"prompt": "a ball", "audio": "beat.wav", "sound": "beat.wav"})
    (folder / "old.jsonl").write_text(both)
    with pytest.raises(OptionError, match="sound is the old name of audio, and both are given"):
        load_eval_recipe(folder / "old.toml")
