"""The names of commands and options: scripts depend on them, so a change here is a breaking change."""

import pytest

from wan22.cli.app import program

COMMANDS = program().commands

PROVENANCE = "--certificate --no-provenance --provenance"
MACHINE = "--device --compute-dtype --dtype --memory --quantize --model --vae-dtype"
PARTS = "--dit --high --low --text --tokenizer --vae"
DENOISING = "--attention --compile"
SAMPLING = (
    "--boundary --cache --calibration --guidance --guidance-interval --guidance-rescale --negative --schedule "
    "--seed --shift --sigmas --size --solver --steps --switch-step"
)
FROZEN = {
    "generate": f"prompt --afresh --angle --audio --audio-start --best-of --calibrate --camera --clips --codec "
    f"--color-match --composition --restart "
    f"--count --extend --fast --fps --frames --from --from-image --hold-colour --image --json --keep-takes --language "
    f"--last-image --label --lens --light --lora --no-overwrite --output --overwrite --pose --quality --say "
    f"--seconds --shot-size --speaker --strength --style --task --time --tone --video --voice --voice-sample -o "
    f"{PROVENANCE} {MACHINE} {PARTS} {SAMPLING} {DENOISING}",
    "image": f"prompt --angle --camera --composition --count --extend --fast --from --json --label --lens --light "
    f"--lora --no-overwrite --output --overwrite --shot-size --style --time --tone -o {PROVENANCE} {MACHINE} {PARTS} "
    f"{SAMPLING} {DENOISING}",
    "storyboard": f"script --film --fps --from-stills --join --json --label --lora --output --plan --quality --retry "
    f"--still-model -o "
    f"{PROVENANCE} {MACHINE} {PARTS} {SAMPLING} {DENOISING}",
    "decode": f"latents --codec --json --no-overwrite --output --overwrite --quality -o {PROVENANCE} {MACHINE} {PARTS}",
    "vocabulary": "axis --json --language",
    "extend": "prompt --engine --image --json --language --seed",
    "models": "name --json",
    "plan": "model --device --dtype --frames --gpu --guidance --json --memory --quantize --ram --seconds --size "
    "--steps --table --task --vae-dtype --vram",
    "download": "name --from --json --to",
    "inspect": "path --json",
    "convert": "source target --dtype --json --to",
    "verify": "path --hashes --json --no-hashes",
    "train": f"recipe --check --device --json --minutes --steps {PARTS}",
    "curate": "folder --cut --json --keep-duplicates --max-brightness --max-cuts --max-motion --max-text "
    "--min-brightness --min-motion --min-sharpness --output -o",
    "caption": "folder --frames --hint --json --language --model --overwrite --server --timeout",
    "show": "file --json",
    "measure": "file --against --fps --json --output -o",
    "drift": "file --fps --json --output --plot -o",
    "eval": "recipe --afresh --restart --json --output -o",
    "doctor": "--json --no-test --test",
    "data": "",
}


def test_the_commands_are_frozen():
    assert list(COMMANDS) == list(FROZEN)


@pytest.mark.parametrize("name", FROZEN)
def test_the_options_of_a_command_are_frozen(name):
    names = [
        option
        for parameter in COMMANDS[name].params
        for option in (*parameter.opts, *parameter.secondary_opts)
        if option not in ("--help", "-h")
    ]
    assert sorted(names) == sorted(FROZEN[name].split())


@pytest.mark.parametrize("name", FROZEN)
def test_every_command_and_option_explains_itself(name):
    assert COMMANDS[name].help
    for parameter in COMMANDS[name].params:
        assert parameter.help, f"{name} {parameter.opts} has no help"


def test_a_default_that_is_the_models_own_is_said_in_the_help():
    helps = {parameter.name: parameter.help for parameter in COMMANDS["generate"].params}
    for option in ("size", "frames", "fps", "steps", "solver", "shift", "guidance", "negative"):
        assert "default: the model's own" in helps[option]
