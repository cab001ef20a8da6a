"""What a person who types a command wrongly, or nothing, is told; and help, which loads no network."""

import json
import os
import subprocess
import sys

import pytest

from wan22.cli.__main__ import main

FOREIGN = {
    "num-inference-steps": "--steps", "num_inference_steps": "--steps", "sample_steps": "--steps",
    "cfg": "--guidance", "guidance-scale": "--guidance", "sample_guide_scale": "--guidance",
    "sampler": "--solver", "scheduler": "--solver", "sample_solver": "--solver", "denoise": "--strength",
    "num-frames": "--frames", "frame_num": "--frames", "width": "--size WIDTHxHEIGHT",
    "height": "--size WIDTHxHEIGHT", "negative-prompt": "--negative", "ckpt_dir": "--model",
    "offload_model": "--memory", "sample_shift": "--shift", "base_seed": "--seed", "save_file": "--output",
    "convert_model_dtype": "--dtype", "prompt": "the prompt alone",
}  # fmt: skip


@pytest.mark.parametrize("name", FOREIGN)
def test_an_option_of_another_program_is_answered_with_ours(capsys, name):
    assert main(["generate", "a red ball", f"--{name}", "4"]) == 2
    assert f"unknown option --{name}. Here it is {FOREIGN[name]}" in capsys.readouterr().err


def test_an_option_of_another_command_is_named_with_it(capsys):
    assert main(["image", "a red ball", "--num-frames", "4"]) == 2
    assert "It is an option of `wan22 generate`: --frames" in capsys.readouterr().err


def test_a_prompt_without_quotes_is_said_in_one_line(capsys):
    assert main(["generate", "a", "red", "ball", "--steps", "4"]) == 2
    err = capsys.readouterr().err
    assert 'put them between quotes: wan22 generate "a red ball"' in err and len(err.splitlines()) == 1


def test_a_group_called_with_nothing_shows_its_help(capsys):
    assert main(["data"]) == 0
    out, err = capsys.readouterr()
    assert "survey" in out and not err


def test_data_takes_a_folder(capsys):
    assert main(["data", "nowhere-at-all"]) == 2
    assert "there is no nowhere-at-all" in capsys.readouterr().err


def test_help_is_read_in_groups(capsys):
    assert main(["generate", "-h"]) == 0
    out = capsys.readouterr().out
    places = [
        out.index(f"\n{group}: ") for group in ("What", "How", "Direction", "Speech", "Where", "Memory")
    ]
    assert places == sorted(places) and "--hold-colour" not in out


@pytest.mark.parametrize(
    "arguments", [["models"], ["models", "nano"], ["vocabulary", "nothing"], ["generat"]]
)
def test_json_is_one_object_or_list_a_line(capsys, arguments):
    main([*arguments, "--json"])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1 or arguments == ["models"]  # a line for each
    assert json.loads(lines[0])


@pytest.mark.parametrize(
    "arguments",
    [["--help"], ["generate", "--help"], ["vocabulary"], ["data"], ["storyboard", "--help"], ["generat"]],
)
def test_no_network_library_is_imported_where_none_is_needed(arguments):
    code = (
        "import sys; from wan22.cli.__main__ import main; main(sys.argv[1:]); "
        "heavy = {'torch', 'numpy', 'rich', 'av'} & set(sys.modules); assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code, *arguments], check=True, capture_output=True)


@pytest.mark.parametrize(
    ("typed", "offered"),
    [("--solver e", "euler"), ("--model nan", "nano-s2v"), ("--shot-size clo", "close-up")],
)
def test_the_shell_completes_values(typed, offered):
    words = f"wan22 generate p {typed}"
    asked = {"_WAN22_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": "4"}
    made = subprocess.run(
        [sys.executable, "-m", "wan22"],
        env={**os.environ, **asked},
        check=True,
        capture_output=True,
        text=True,
    )
    assert offered in made.stdout.split()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["storyboard"], "wan22 storyboard needs SCRIPT (Text with a shot in each paragraph"),
        (["convert", "a", "b"], "wan22 convert needs --to DIALECT ("),
        (["decode"], "Such as: wan22 decode out/video.mp4.latents.safetensors"),
        (["download"], "Such as: wan22 download ti2v-5B"),
        (["generate", "x", "--task", "t2v-A14B"], "--task t2v-A14B is a model here: --model t2v-A14B"),
        (["generate", "x", "--task", "s2v-14B"], "--model s2v-14B"),
    ],
)
def test_what_is_missing_is_said_with_an_example_and_an_official_task_is_a_model(arguments, message, capsys):
    from wan22.cli.__main__ import main

    assert main(arguments) == 2
    err = capsys.readouterr().err
    assert message in err and err.count("\n") == 1


def test_models_as_json_are_one_object_a_line(capsys):
    import json

    from wan22.cli.__main__ import main

    assert main(["models", "--json"]) == 0
    assert "ti2v-5B" in [json.loads(line)["name"] for line in capsys.readouterr().out.splitlines()]
