"""The mouth and the face, measured from pixels of videos whose performance is known; behind a blur too."""

import numpy as np
import pytest
from PIL import Image, ImageFilter

from wan22.director.mouth import agreement, face_of, mouth_opening
from wan22.errors import MediaError
from wan22.stage.puppet import PUPPET_AXES, PuppetShot, perform, sample_puppets
from wan22.stage.puppet_render import render_puppet
from wan22.stage.voice import RATE, singing

FPS, FRAMES = 16.0, 32
CAMERAS = PUPPET_AXES["camera"]


def shots_of_every_camera():
    """Held-out shots, one of each camera."""
    pool = sample_puppets(200, 5, split="held-out")
    return [shot for camera in CAMERAS for shot in [s for s in pool if s.camera == camera][:1]]


def render(shots, acts, height=64, width=64):
    return render_puppet(shots, acts, height=height, width=width, frames=FRAMES, fps=FPS, seed=7).numpy()


def sung(seed):
    return perform(singing(FRAMES / FPS, seed=seed), RATE, FRAMES, FPS, seed=seed)


def blurred(video):
    blur = ImageFilter.GaussianBlur(1.0)
    return np.stack([np.asarray(Image.fromarray(frame).filter(blur)) for frame in video])


@pytest.fixture(scope="module")
def shots():
    return shots_of_every_camera()


@pytest.fixture(scope="module")
def acts(shots):
    return [sung(seed) for seed in range(len(shots))]


@pytest.fixture(scope="module")
def videos(shots, acts):
    return render(shots, acts)


def test_the_opening_that_was_drawn_is_measured(videos, acts):
    scores = [np.corrcoef(mouth_opening(f), a.mouth)[0, 1] for f, a in zip(videos, acts, strict=True)]
    assert np.mean(scores) >= 0.97 and min(scores) >= 0.93


def test_the_opening_is_measured_behind_a_blur(videos, acts):
    scores = [
        np.corrcoef(mouth_opening(blurred(f)), a.mouth)[0, 1] for f, a in zip(videos, acts, strict=True)
    ]
    assert np.mean(scores) >= 0.93


def test_a_shut_mouth_measures_shut_and_an_open_one_open(shots, acts):
    for value, low, high in ((0.0, 0.0, 0.1), (1.0, 0.75, 1.3)):
        still = [a._replace(mouth=np.full(FRAMES, value, np.float32)) for a in acts]
        measured = np.stack([mouth_opening(video) for video in render(shots, still)])
        assert low <= measured.min() and measured.max() <= high


def test_one_course_of_the_mouth_measures_alike_under_every_camera():
    plain = {axis: values[0] for axis, values in PUPPET_AXES.items()}
    act = sung(3)
    videos = render([PuppetShot(**{**plain, "camera": camera}) for camera in CAMERAS], [act] * len(CAMERAS))
    courses = np.stack([mouth_opening(video) for video in videos])
    assert np.abs(courses - courses.mean(0)).max() < 0.2


@pytest.mark.parametrize("size", [(128, 128), (96, 64), (64, 96)])
def test_the_size_of_the_image_does_not_matter(size):
    [shot], act = sample_puppets(1, 4), sung(2)
    video = render([shot], [act], *size)[0]
    assert np.corrcoef(mouth_opening(video), act.mouth)[0, 1] > 0.97
    assert mouth_opening(video).max() == pytest.approx(1.0, abs=0.3)


def test_the_face_is_followed_through_every_camera(shots, videos):
    for shot, video in zip(shots, videos, strict=True):
        faces = face_of(video)
        x, growth = faces.centre[:, 0], np.log(faces.height[-3:].mean() / faces.height[:3].mean())
        travel = x[-3:].mean() - x[:3].mean()
        pan = {"pan left": 1, "pan right": -1}.get(shot.camera, 0)  # the face goes against the camera
        dolly = {"dolly in": 1, "dolly out": -1}.get(shot.camera, 0)
        assert travel == pytest.approx(pan * 25, abs=7)  # pixels; a tilt of the head takes or gives some
        assert growth == pytest.approx(dolly * 0.45, abs=0.15)
        assert faces.likeness.min() > 0.3


def test_colours_of_felt_and_coat_are_the_same_at_any_moment():
    plain = {axis: values[0] for axis, values in PUPPET_AXES.items()}
    video = render([PuppetShot(**{**plain, "coat": "purple", "camera": "static"})], [sung(1)])[0]
    faces = face_of(video)
    assert np.abs(faces.felt - faces.felt.mean(0)).max() < 12
    red, green, blue = faces.coat.mean(0)
    assert green < red and green < blue


def test_agreement_finds_the_lag():
    course = np.sin(np.arange(60) * 0.7) + np.sin(np.arange(60) * 0.31)
    late = agreement(np.roll(course, 2), course)
    assert late.lag == 2 and late.correlation > 0.99 > late.at_once


def test_what_is_no_video_is_refused():
    with pytest.raises(MediaError, match="uint8"):
        face_of(np.zeros((3, 64, 64, 3), np.float32))
