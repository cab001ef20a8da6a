"""A driving video to what the network is driven by: with the puppet, whose landmarks are known."""

import json
from dataclasses import replace

import numpy as np
import pytest
from unit.preprocess.puppet import FPS, FRAMES, box_of, clip, models, puppet

from wan22.errors import MediaError, OptionError, OutputError, SizeError
from wan22.media.video import VideoWriter
from wan22.preprocess import Options, Prepared, prepare, redraw
from wan22.types import Clip

SMALL = Options(area=128 * 160, face_size=64)


def made(replaced=False, **more):
    options = more.pop("options", SMALL)
    given = more.pop("models", None) or models(**more.pop("known", {}))
    return prepare(
        clip(), more.pop("reference", None), replace=replaced, fps=FPS, models=given, options=options, **more
    )


def written(path):
    with VideoWriter(path, fps=FPS, size=(160, 128)) as writer:
        writer.add(puppet()[0])
    return path


def test_animation_makes_pose_and_face():
    done = made()
    assert done.pose.frames.shape == (FRAMES, 128, 160, 3) and done.face.frames.shape == (FRAMES, 64, 64, 3)
    assert done.pose.fps == FPS and done.background is None and done.mask is None and not done.notices
    assert not done.replaces and done.landmarks is not None and len(done.landmarks) == FRAMES


def test_the_pose_is_drawn_where_the_landmarks_are():
    _, points, _ = puppet()
    pose = made().pose.frames
    for t in (0, FRAMES - 1):
        x, y = points[t, 0, :2].astype(int)
        assert tuple(pose[t, y, x]) == (255, 0, 0)  # the nose's disc
        x, y = points[t, 9, :2].astype(int)
        assert tuple(pose[t, y, x]) == (85, 255, 0) or pose[t, y, x].any()
    assert (pose == 0).mean() > 0.85


def test_the_face_is_cut_by_the_rule():
    import cv2

    frames, _, _ = puppet()
    done = made()
    left, top, right, bottom = done.landmarks.face_boxes[3]
    assert (done.face.frames[3] == cv2.resize(frames[3][top:bottom, left:right], (64, 64))).all()


def test_the_pose_has_the_size_of_the_reference():
    done = made(reference=np.zeros((300, 200, 3), np.uint8))
    width, height = 112, 160  # sqrt of the area by the reference's shape, down to multiples of 16
    assert done.pose.frames.shape[1:3] == (height, width)
    bars = int(width / 160 * 128)
    top = int((height - bars) / 2)
    assert not done.pose.frames[:, :top].any() and not done.pose.frames[:, top + bars :].any()


def test_replacement_masks_the_person_out_of_the_background():
    frames, _, masks = puppet()
    done = made(True)
    assert set(np.unique(done.mask.frames)) == {0, 255} and done.mask.frames.shape == done.pose.frames.shape
    assert (done.mask.frames[masks] == 255).all()
    outside = done.mask.frames[..., 0] == 0
    assert outside.any() and (done.background.frames[outside] == frames[outside]).all()
    assert not done.background.frames[~outside].any()


def test_a_mask_without_growth_is_the_outline():
    done = made(True, options=replace(SMALL, mask_iterations=0))
    assert ((done.mask.frames[..., 0] == 255) == puppet()[2]).all()


def test_a_size_is_taken_as_asked_in_replacement():
    done = made(True, size=(320, 256), known={"scale": 2.0})
    assert done.background.frames.shape[1:3] == (256, 320) and done.landmarks.size == (320, 256)


def test_a_size_that_the_network_does_not_take_is_refused_before_any_work():
    with pytest.raises(SizeError, match="multiples of 16"):
        prepare(clip(), size=(100, 128), models=replace(models(), detect=None))


def test_frames_in_which_nobody_is_found_are_interpolated_and_said():
    _, points, _ = puppet()
    done = made(known={"unseen": (4, 5)})
    record = done.landmarks
    assert not record.found[[4, 5]].any() and record.found.sum() == FRAMES - 2
    expected = points[3] + (points[6] - points[3]) / 3
    assert np.allclose(record.points[4], expected, atol=1e-3)
    assert len(done.notices) == 1 and "0.27-0.40 s" in done.notices[0]


def test_who_has_no_box_for_a_moment_may_have_landmarks():
    known = models(unseen=(4, 5))
    _, points, _ = puppet()
    looked = iter(range(FRAMES))
    done = made(models=replace(known, landmarks=lambda frame, box: points[next(looked)]))
    assert done.landmarks.found.all() and (done.landmarks.points[4] == points[4]).all() and not done.notices


def test_at_the_ends_the_nearest_frame_is_held():
    done = made(True, known={"unseen": (0, 1, FRAMES - 1)})
    record, masks = done.landmarks, done.mask.frames
    assert (record.points[0] == record.points[2]).all() and (record.points[-1] == record.points[-2]).all()
    assert (masks[0] == masks[2]).all()


def test_a_video_in_which_nobody_is_found_is_one_clear_error():
    with pytest.raises(MediaError, match="nobody was found in 12 frames"):
        made(known={"unseen": range(FRAMES)})


def test_the_largest_and_most_central_is_followed():
    aside = np.array([0, 0, 12, 30, 0.99], np.float32)
    done = made(known={"others": (aside,)})
    assert np.allclose(done.landmarks.boxes[5], box_of(puppet()[1][5])[:4], atol=0.1)
    people = done.landmarks.settings["people"]
    assert len(people) == 2 and people[0]["frames"] == FRAMES and "2 people" in done.notices[0]


def test_another_person_is_followed_if_asked():
    aside, asked = np.array([0, 0, 12, 30, 0.99], np.float32), []
    known = models(others=(aside,))
    given = replace(known, landmarks=lambda frame, box: asked.append(box) or known.landmarks(frame, box))
    done = made(models=given, options=replace(SMALL, person=1))
    assert len(asked) == FRAMES and all((box == aside).all() for box in asked)
    assert done.landmarks.settings["person"] == 1 and "number 1 is followed" in done.notices[0]


def test_a_person_who_is_not_there_is_refused():
    with pytest.raises(OptionError, match="no person 3: 1 were found"):
        made(options=replace(SMALL, person=3))


def test_a_mask_may_be_given_as_a_video():
    given = np.zeros((FRAMES, 128, 160, 3), np.uint8)
    given[:, 30:40, 50:60] = 255
    options = replace(SMALL, mask=Clip(given, FPS), mask_iterations=0)
    done = made(True, models=replace(models(), mask=None), options=options)
    assert (done.mask.frames == given).all() and not done.background.frames[given == 255].any()


@pytest.mark.parametrize(
    ("replaced", "frames", "said"), [(True, 3, "has 3 frames"), (False, FRAMES, "only to replace")]
)
def test_a_mask_that_does_not_fit_is_refused_before_any_work(replaced, frames, said):
    options = replace(SMALL, mask=Clip(np.zeros((frames, 128, 160, 3), np.uint8), FPS))
    with pytest.raises(MediaError, match=said):
        made(replaced, models=replace(models(), detect=None), options=options)


def test_networks_without_masks_cannot_replace_someone():
    with pytest.raises(OptionError, match="wan22 preprocess --setup"):
        made(True, models=replace(models(), mask=None))


def test_scores_that_flicker_are_averaged_if_the_networks_need_it():
    known = models()
    turn = iter(range(FRAMES))

    def flickering(frame, box):
        points = known.landmarks(frame, box).copy()
        points[7:11, 2] = 0.95 if next(turn) % 3 else 0.3  # elbows and wrists
        return points

    done = made(models=replace(known, landmarks=flickering, steady=0.12))
    assert (done.landmarks.points[:, 7:11, 2] > 0.5).all()


def test_the_rate_is_changed_as_in_the_official_preprocessing():
    numbers = np.arange(6, dtype=np.uint8).reshape(6, 1, 1, 1)
    frames = numbers * np.ones((1, 128, 160, 3), np.uint8)
    seen = []

    def detect(frame):
        seen.append(int(frame[0, 0, 0]))
        return np.array([[10, 10, 100, 100, 1]])

    points = puppet()[1][0]
    given = replace(models(), detect=detect, landmarks=lambda frame, box: points)
    prepare(Clip(frames, 15.0), fps=30.0, models=given, options=SMALL)
    assert seen == [0, 0, 1, 2, 2, 2, 3, 4, 4, 4, 5, 5]


def test_a_folder_is_written_and_opened_again(tmp_path):
    done = made(True, reference=np.full((64, 48, 3), 90, np.uint8))
    folder = done.save(tmp_path / "out")
    assert {path.name for path in folder.iterdir()} == {
        "src_pose.mp4", "src_face.mp4", "src_bg.mp4", "src_mask.mp4", "src_ref.png", "preprocess.json",
        "preprocess.png",
    }  # fmt: skip
    again = Prepared.open(folder)
    assert again.replaces and (again.reference == 90).all()
    assert np.allclose(again.landmarks.points, done.landmarks.points, atol=0.06)
    assert ((again.mask.frames[..., 0] >= 128) == (done.mask.frames[..., 0] == 255)).all()
    difference = again.face.frames.astype(int) - done.face.frames
    assert abs(difference).mean() < 4  # a lossy video


def test_an_official_folder_without_a_record_is_opened(tmp_path):
    folder = made().save(tmp_path / "out")
    (folder / "preprocess.json").unlink()
    assert Prepared.open(folder).landmarks is None
    (folder / "src_face.mp4").unlink()
    with pytest.raises(MediaError, match="has no src_face"):
        Prepared.open(folder)


def test_videos_of_different_lengths_are_one_clear_error():
    done = made()
    with pytest.raises(MediaError, match="pose 12, face 11"):
        Prepared(done.pose, Clip(done.face.frames[1:], FPS))
    with pytest.raises(MediaError, match="needs a mask video"):
        Prepared(done.pose, done.face, background=done.pose)


def test_a_folder_that_is_there_is_left_as_it_is(tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(OutputError, match="--redraw"):
        made().save(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_what_fails_leaves_nothing(tmp_path):
    done = made()
    broken = replace(done, sheet=np.zeros((2, 2), np.float32))
    with pytest.raises(ValueError, match="uint8"):
        broken.save(tmp_path / "out")
    assert not list(tmp_path.iterdir())


def test_what_a_person_edits_is_drawn_again(tmp_path):
    driving = written(tmp_path / "driving.mp4")
    done = prepare(driving, replace=True, fps=FPS, models=models(), options=SMALL)
    folder = done.save(tmp_path / "out")
    (folder / "notes.txt").write_text("mine")
    record = json.loads((folder / "preprocess.json").read_text())
    record["frames"][0]["body"][0] = [30.0, 20.0, 1.0]
    record["frames"][0]["face_box"] = [0, 0, 16, 16]
    edited = json.dumps(record)
    (folder / "preprocess.json").write_text(edited)
    mask = (folder / "src_mask.mp4").read_bytes()
    redraw(folder)
    again = Prepared.open(folder)
    assert again.pose.frames[0, 20, 30].astype(int)[0] > 120 and done.pose.frames[0, 20, 30].max() == 0
    assert abs(again.face.frames[0].astype(int) - done.face.frames[0]).mean() > 8
    assert abs(again.face.frames[5].astype(int) - done.face.frames[5]).mean() < 4
    assert (folder / "preprocess.json").read_text() == edited and (
        folder / "src_mask.mp4"
    ).read_bytes() == mask
    assert (folder / "notes.txt").read_text() == "mine"


def test_a_painted_mask_changes_the_background_when_drawn_again(tmp_path):
    driving = written(tmp_path / "driving.mp4")
    folder = prepare(driving, replace=True, fps=FPS, models=models(), options=SMALL).save(tmp_path / "out")
    painted = np.zeros((FRAMES, 128, 160, 3), np.uint8)
    painted[:, :64] = 255
    with VideoWriter(folder / "src_mask.mp4", fps=FPS, size=(160, 128)) as writer:
        writer.add(painted)
    redraw(folder)
    background = Prepared.open(folder).background.frames
    assert background[:, :56].max() < 24 and background[:, 72:].mean() > 60


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda frames: frames[2].update(body=[[1, 2, 3]]), "frame 2: body must be 17 lists of 3 numbers"),
        (lambda frames: frames[1].update(face_box=[9, 9, 9, 20]), "frame 1: face_box"),
        (lambda frames: frames[0].update(left_hand=[[None, 1, 1]] * 21), "frame 0: left_hand"),
        (lambda frames: frames.pop(), "another video"),
        (lambda frames: frames[0].pop("face"), "frame 0: face must be 68"),
        (lambda frames: frames.__setitem__(0, []), "frame 0 is no object"),
    ],
)
def test_a_record_that_does_not_fit_changes_nothing(tmp_path, change, said):
    driving = written(tmp_path / "driving.mp4")
    folder = prepare(driving, fps=FPS, models=models(), options=SMALL).save(tmp_path / "out")
    record = json.loads((folder / "preprocess.json").read_text())
    change(record["frames"])
    (folder / "preprocess.json").write_text(json.dumps(record))
    before = (folder / "src_pose.mp4").read_bytes()
    with pytest.raises(MediaError, match=said):
        redraw(folder)
    assert (folder / "src_pose.mp4").read_bytes() == before


def test_a_driving_video_that_was_moved_is_named(tmp_path):
    driving = written(tmp_path / "driving.mp4")
    folder = prepare(driving, fps=FPS, models=models(), options=SMALL).save(tmp_path / "out")
    driving.rename(tmp_path / "moved.mp4")
    with pytest.raises(MediaError, match="--driving"):
        redraw(folder)
    assert redraw(folder, tmp_path / "moved.mp4") == folder
