"""Which model a request gets, and what of another video it takes over."""

import numpy as np
import pytest
from live import small_video

from wan22.jobs.folder import Folder
from wan22.media.image import write_image
from wan22.server.app import create_app
from wan22.server.problems import Refusal
from wan22.server.settings import Settings
from wan22.server.video_fields import read
from wan22.server.video_jobs import Wanted, add


@pytest.fixture
def app_with(tmp_path):
    opened = []

    def make(*models):
        app = create_app(Folder(tmp_path / "data"), Settings(models=models)).state
        opened.append(app.store)
        return app

    yield make
    for store in opened:
        store.close()


def model(app, kind="video", base=None, **said):
    wanted = Wanted(read({"prompt": "a ball", **said}), kind=kind, base=base or {})
    return add(app, wanted).request


ALL = ("t2v-A14B", "i2v-A14B", "s2v-14B")


def kept(app, path):
    from wan22.server.uploads import keep

    with small_video(path).open("rb") as stream:
        return keep(app, stream, "a.mp4").id


def test_the_first_model_that_can_is_taken(app_with, tmp_path):
    app = app_with(*ALL)
    video = kept(app, tmp_path / "a.mp4")
    assert model(app)["model"] == "t2v-A14B"
    assert model(app, video=video)["model"] == "t2v-A14B"
    assert model(app, kind="extend", video=video, seconds=1)["model"] == "i2v-A14B"


def test_what_drives_a_person_goes_to_the_model_that_animates(app_with, tmp_path):
    from wan22.server.uploads import keep

    app = app_with("t2v-A14B", "animate-14B")
    video = kept(app, tmp_path / "a.mp4")
    write_image(tmp_path / "who.png", np.zeros((40, 40, 3), np.uint8))
    with (tmp_path / "who.png").open("rb") as stream:
        who = keep(app, stream, "who.png").id
    driven = {"image": who, "pose": video, "face": video}
    assert model(app, **driven)["model"] == "animate-14B"
    replaces = model(app, **driven, background=video, mask=video, replace=True)
    assert replaces["model"] == "animate-14B" and replaces["mask"] == video
    assert model(app, task="animate", image=who, video=video)["model"] == "animate-14B"
    with pytest.raises(Refusal, match="does not go together with video") as error:
        model(app, image=who, video=video)
    assert error.value.param == "image"
    with pytest.raises(Refusal, match="cannot be face") as error:
        model(app, **(driven | {"face": who}))
    assert error.value.param == "face"


@pytest.mark.parametrize("name", ["t2v-A14B", "Wan-AI/Wan2.2-T2V-A14B", "Wan-AI/Wan2.2-T2V-A14B-Diffusers"])
def test_a_model_has_several_names(app_with, name):
    assert model(app_with(*ALL), model=name)["model"] == "t2v-A14B"


def test_a_model_that_is_not_served_or_cannot_is_refused(app_with):
    app = app_with(*ALL)
    with pytest.raises(Refusal, match="served: t2v-A14B, i2v-A14B, s2v-14B") as error:
        model(app, model="sora-2")
    assert (error.value.status_code, error.value.code, error.value.param) == (400, "model_not_found", "model")
    with pytest.raises(Refusal, match="t2v-A14B does"):
        model(app, model="i2v-A14B")
    with pytest.raises(Refusal, match="is not served"):
        model(app, model="/models/secret")


def test_what_another_model_was_asked_is_not_taken_over(app_with, tmp_path):
    app = app_with(*ALL)
    video = kept(app, tmp_path / "a.mp4")
    base = {"model": "t2v-A14B", "steps": 30, "guidance": [3.0, 4.0], "negative": "rain"}
    request = model(app, kind="extend", base=base, video=video, seconds=1, shift=3)
    assert request["model"] == "i2v-A14B"
    assert {"steps", "guidance"}.isdisjoint(request)
    assert (request["negative"], request["shift"]) == ("rain", 3)
    assert model(app, base=base, video=video)["steps"] == 30


def test_what_is_wrong_is_said_by_the_clients_names(app_with):
    app = app_with("nano")
    for said, param in (
        ({"sampler": "no-such"}, "sampler"),
        ({"lora": {"name": "ink"}}, "lora"),
        ({"input_reference": "/etc/passwd"}, "input_reference"),
        ({"input_reference": "in_000000000000000000000000"}, "input_reference"),
        ({"video": "job_000000000000000000000000"}, "video"),
        ({"video": "in_../../x"}, "video"),
        ({"prompt": "  "}, "prompt"),
        ({"user": ["me"]}, "user"),
        ({"speaker": "https://example.com", "say": "hello"}, "speaker"),
        ({"extend": "https://example.com#model"}, "extend"),
    ):
        with pytest.raises(Refusal) as error:
            model(app, **said)
        assert (error.value.status_code, error.value.param) == (400, param), said
