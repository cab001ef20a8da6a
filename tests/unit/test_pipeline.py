"""The familiar face: the call that a newcomer writes works, and its names mean what they mean in Diffusers."""

import numpy as np
import pytest
import torch
from PIL import Image
from tiny import write_tiny

from wan22 import Video, Wan22Pipeline
from wan22.catalog import EMBEDDED
from wan22.errors import CheckpointError, DeviceError, MediaError, OptionError, OutputError, SizeError
from wan22.media.audio import read_audio
from wan22.media.recipe import FrameHasher, read_recipe
from wan22.media.video import probe, read_clip
from wan22.pipeline import PipelineOutput
from wan22.types import Audio, Clip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_tiny(tmp_path_factory.mktemp("pipeline") / "tiny", only=True)


@pytest.fixture(scope="module")
def pipeline(folder):
    return Wan22Pipeline.from_pretrained(folder, torch_dtype=torch.float32, device="cpu")


def make(pipeline, **options):
    return pipeline(**{"prompt": "a red ball", "num_inference_steps": 2, **options})


def seen(pipeline, **options):
    """The request that a call makes."""
    requests = []
    generate = pipeline.engine.generate
    pipeline.engine.generate = lambda request: (requests.append(request), generate(request))[1]
    try:
        make(pipeline, **options)
    finally:
        del pipeline.engine.generate
    return requests[0]


def test_the_example_works_as_written(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pipeline = Wan22Pipeline.from_pretrained(folder, torch_dtype=torch.float32, device="cpu")
    video = pipeline(
        prompt="...", num_frames=32, fps=8, resolution=(64, 48), guidance_scale=7.5, num_inference_steps=3
    )
    video.save("output.mp4")
    clip = read_clip("output.mp4")
    assert (clip.frames.shape, clip.fps) == ((32, 48, 64, 3), 8.0)
    recipe = read_recipe("output.mp4")
    assert (recipe["prompt"], recipe["frames"], recipe["size"]) == ("...", 32, [64, 48])
    assert (recipe["guidance"], recipe["steps"]) == (7.5, 3)


@pytest.mark.skipif(
    not (EMBEDDED / "variant.json").is_file(), reason="this checkout has no embedded nano model"
)
def test_the_example_works_with_the_embedded_model(tmp_path):
    pipeline = Wan22Pipeline.from_pretrained("wan22-nano", torch_dtype=torch.float32, device="cpu")
    video = pipeline(
        prompt="a red ball rolls left", num_frames=32, fps=8, resolution=(512, 512), num_inference_steps=2
    )
    assert video.frames.shape == (1, 32, 512, 512, 3)
    assert video.save(tmp_path / "output.mp4").stat().st_size > 1000


def test_a_video_has_frames_speed_length_and_a_recipe_with_their_hash(pipeline):
    output = make(pipeline, num_frames=5)
    assert isinstance(output, PipelineOutput) and len(output.videos) == 1
    video = output.videos[0]
    assert isinstance(video, Video)
    assert (len(video), video.frames.shape, video.frames.dtype, video.fps) == (
        5,
        (5, 32, 48, 3),
        np.uint8,
        8.0,
    )
    hasher = FrameHasher()
    hasher.update(video.frames)
    assert video.recipe["frames_sha256"] == hasher.hexdigest()
    assert "frames=" not in repr(video)
    assert (output.recipe, output.fps) == (video.recipe, video.fps)


def test_a_notebook_shows_the_video(pipeline):
    html = make(pipeline)._repr_mimebundle_()["text/html"]
    assert html.startswith("<video") and "data:video/mp4;base64," in html


def test_every_name_reaches_the_request(pipeline):
    request = seen(
        pipeline, negative_prompt="", height=32, width=48, num_frames=5, fps=12, num_inference_steps=1,
        guidance_scale=2.0, guidance_scale_2=3.0, shift=4.0, solver="euler", seed=9,
        guidance_rescale=0.6,
    )  # fmt: skip
    assert (request.negative, request.size, request.frames, request.fps) == ("", (48, 32), 5, 12)
    assert (request.steps, request.shift, request.solver, request.seed) == (1, 4.0, "euler", 9)
    assert request.guidance == (3.0, 2.0)  # ours is (low, high); theirs names the high one first
    assert request.guidance_rescale == 0.6 and seen(pipeline).guidance_rescale is None
    assert seen(pipeline, guidance_scale=2.0).guidance == 2.0
    assert seen(pipeline).guidance is None
    assert seen(pipeline).negative is None
    assert seen(pipeline, resolution=[64, 48]).size == (64, 48)


def test_schedule_levels_and_boundary_reach_the_request_and_stand_in_the_recipe(pipeline):
    for name, value in (("boundary_ratio", 0.5), ("switch_step", 1), ("schedule", "beta")):
        of = name.removesuffix("_ratio")
        assert getattr(seen(pipeline, **{name: value}), of) == value
        assert make(pipeline, **{name: value}).recipe[of] == value
    for levels in ([1.0, 0.5, 0.0], np.array([1, 0.5, 0]), torch.tensor([1, 0.5, 0])):
        recipe = make(pipeline, num_inference_steps=None, sigmas=levels).recipe
        assert (recipe["sigmas"], "steps" in recipe) == ([1.0, 0.5, 0.0], False)
    for options, message in (
        ({"schedule": "cosine"}, "schedule 'cosine'"),
        ({"boundary_ratio": 2}, "boundary must be from 0 to 1, not 2"),
        ({"boundary_ratio": 0.5, "switch_step": 1}, "give one of them"),
        ({"sigmas": [1, 0.5, 0], "shift": 3.0}, "shift .* can't be said beside"),
    ):
        with pytest.raises(OptionError, match=message):
            make(pipeline, **{"num_inference_steps": None if "sigmas" in options else 2, **options})


def test_the_boundary_of_a_pipeline_holds_for_every_call_that_says_nothing_else(folder):
    pipeline = Wan22Pipeline.from_pretrained(folder, device="cpu", boundary_ratio=0.5)
    assert make(pipeline).recipe["boundary"] == 0.5
    assert Wan22Pipeline.from_pipe(pipeline)("a red ball", num_inference_steps=1).recipe["boundary"] == 0.5
    assert make(pipeline, boundary_ratio=0.25).recipe["boundary"] == 0.25
    recipe = make(pipeline, switch_step=1).recipe
    assert (recipe["switch_step"], "boundary" in recipe) == (1, False)
    assert pipeline.engine.variant.boundary == 0.9  # the model's own stays what it is


def test_files_named_one_by_one_are_the_model_or_stand_in_its_place(folder, tmp_path):
    other = write_tiny(tmp_path / "other", only=True)
    named = {"high": other / "low_noise_model.safetensors"}
    plain = Wan22Pipeline.from_pretrained(folder, device="cpu", dtype="float32")
    given = Wan22Pipeline.from_pretrained(folder, parts=named, device="cpu", dtype="float32")
    assert not np.array_equal(make(plain, seed=1).frames, make(given, seed=1).frames)
    assert given.engine.weights["high"] == plain.engine.weights["low"]
    given.to(dtype=torch.bfloat16)  # opened anew, with the same files
    assert given.engine.weights["high"] == plain.engine.weights["low"]
    with pytest.raises(OptionError, match="no part given beside it"):
        given.save_pretrained(tmp_path / "saved")
    with pytest.raises(CheckpointError, match=r"Missing: the VAE .*; by name --vae FILE"):
        Wan22Pipeline.from_pretrained(parts={"dit": other / "low_noise_model.safetensors"}, device="cpu")
    with pytest.raises(OptionError, match="give the model, too"):
        Wan22Pipeline.from_pretrained(parts=named, revision="main")


def test_a_generator_is_a_seed(pipeline):
    a = make(pipeline, generator=torch.Generator().manual_seed(3))
    assert np.array_equal(a.frames, make(pipeline, seed=3).frames)
    assert not np.array_equal(a.frames, make(pipeline).frames)
    assert a.recipe["seed"] == 3
    assert 0 <= seen(pipeline, generator=torch.Generator().manual_seed(-1)).seed < 2**63


def test_images_are_paths_pil_images_or_arrays(pipeline, tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (32, 48, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    videos = [
        make(pipeline, image=image, last_image=image, seed=0).frames
        for image in (pixels, Image.fromarray(pixels), tmp_path / "a.png", str(tmp_path / "a.png"))
    ]
    assert all(np.array_equal(videos[0], video) for video in videos)
    assert not np.array_equal(videos[0], make(pipeline, image=pixels, seed=0).frames)
    clear = Image.fromarray(pixels).convert("RGBA")
    assert np.array_equal(seen(pipeline, image=clear).image, pixels)


def test_clips_are_videos_paths_arrays_or_images(pipeline, tmp_path):
    first = make(pipeline, num_frames=5)
    path, pixels = first.save(tmp_path / "a.mp4"), first.videos[0].frames
    images = [Image.fromarray(frame) for frame in pixels]
    forms = (first, first.videos[0], Clip(pixels, 8.0), pixels, images, first.frames[0])
    made = [make(pipeline, video=form, strength=0.5, seed=1) for form in forms]
    assert all(np.array_equal(made[0].frames, other.frames) for other in made)
    assert len(make(pipeline, video=path).videos[0]) == 5
    assert made[0].recipe["task"] == "v2v"


def test_a_video_from_a_video_keeps_its_audio(pipeline, tmp_path):
    pixels = make(pipeline, num_frames=9).videos[0].frames
    chirp = np.sin(np.cumsum(np.linspace(0.02, 0.2, 20_000))).astype(np.float32)
    silent = Video(pixels, 8, {}).save(tmp_path / "silent.mp4")
    path = Video(pixels, 8, {}, Audio(chirp, 16_000), 0.25).save(tmp_path / "a.mp4")
    heard = read_audio(path).samples
    assert np.linalg.norm(heard[1600:16000] - chirp[5600:20000]) < 0.1 * np.linalg.norm(heard)
    again = make(pipeline, video=path, strength=0.5, num_frames=9)
    kept = read_audio(again.save(tmp_path / "b.mp4")).samples
    assert np.linalg.norm((kept[: len(heard)] - heard)[1600:16000]) < 0.1 * np.linalg.norm(heard)
    third = make(pipeline, video=again, strength=0.5, num_frames=9)
    assert probe(third.save(tmp_path / "c.mp4")).has_audio
    assert not probe(third.save(tmp_path / "c.gif")).has_audio
    for form in (silent, pixels):
        assert make(pipeline, video=form, strength=0.5, num_frames=9).audio is None


def test_a_callback_that_raises_stops_the_video_and_the_pipeline_goes_on(pipeline):
    class Enough(Exception):
        pass

    def stop(*_):
        raise Enough

    with pytest.raises(Enough):
        make(pipeline, callback_on_step_end=stop)
    assert len(make(pipeline, num_frames=3).videos[0]) == 3


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        ({"prompt": ""}, OptionError, "prompt is empty"),
        ({"height": 32}, OptionError, "give both height and width"),
        ({"width": 32}, OptionError, "give both height and width"),
        ({"resolution": (48, 32), "height": 32}, OptionError, "give resolution=.* not both"),
        ({"resolution": 512}, OptionError, r"resolution must be \(width, height\), not 512"),
        ({"height": 5, "width": 32}, SizeError, "height must be"),
        ({"num_frames": 0}, SizeError, "frames must be"),
        ({"guidance_scale_2": 3.0}, OptionError, "guidance_scale_2 needs guidance_scale"),
        ({"generator": torch.Generator(), "seed": 1}, OptionError, "a generator or a seed, not both"),
        ({"generator": 7}, OptionError, "must be a torch.Generator, not int"),
        ({"image": 7}, OptionError, "an image must be a path, a PIL image or a uint8 array, not int"),
        ({"video": 7}, OptionError, "a video must be a path, .* not int"),
        ({"num_inference_steps": 0}, OptionError, "steps 0"),
    ],
)
def test_what_cannot_be_served_is_one_clear_error(pipeline, options, kind, message):
    with pytest.raises(kind, match=message):
        make(pipeline, **options)


def test_an_unknown_name_is_pythons_own_error(pipeline, folder):
    with pytest.raises(TypeError, match="timesteps"):
        make(pipeline, timesteps=[1])
    with pytest.raises(TypeError, match="from_pretrained takes no 'nonsense'"):
        Wan22Pipeline.from_pretrained(folder, nonsense=1)


def test_a_model_device_or_precision_that_is_not_here_is_one_clear_error(folder, tmp_path):
    with pytest.raises(CheckpointError, match="there is no folder"):
        Wan22Pipeline.from_pretrained(tmp_path / "absent")
    with pytest.raises(DeviceError, match="'tpu'"):
        Wan22Pipeline.from_pretrained(folder, device="tpu")
    with pytest.raises(DeviceError, match="'int8'"):
        Wan22Pipeline.from_pretrained(folder, torch_dtype=torch.int8, device="cpu")
    with pytest.raises(OptionError, match="memory plan 'ram'"):
        Wan22Pipeline.from_pretrained(folder, device="cpu", memory="ram")


def test_options_of_the_engine_are_passed_on(folder):
    assert Wan22Pipeline.from_pretrained(folder, device="cpu", attention="sdpa").engine.options == {
        "attention": "sdpa"
    }
    with pytest.raises(OptionError, match="attention 'sage' cannot be used"):
        Wan22Pipeline.from_pretrained(folder, device="cpu", attention="sage")


def test_a_video_is_not_written_where_it_cannot_be(pipeline, tmp_path):
    video = make(pipeline, num_frames=1)
    (tmp_path / "file").write_text("")
    for wrong in ("file/a.mp4", "a.doc"):
        with pytest.raises(OutputError):
            video.save(tmp_path / wrong)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_video_whose_audio_is_gone_is_not_saved_in_place_of_another(tmp_path):
    frames = np.zeros((4, 32, 32, 3), np.uint8)
    place = Video(frames, 8.0, {}).save(tmp_path / "x.mp4")
    before = place.read_bytes()
    with pytest.raises(MediaError, match=r"gone\.wav does not exist"):
        Video(frames, 8.0, {}, tmp_path / "gone.wav").save(place)
    assert place.read_bytes() == before
