"""The names of commands and options: scripts depend on them, so a change here is a breaking change."""

import pytest

from wan22.cli.app import program

COMMANDS = program().commands

PROVENANCE = "--certificate --no-provenance --provenance"
MACHINE = (
    "--device --gpus --parallel --compute-dtype --dtype --memory --quantize --model --vae-dtype "
    "--text-device --vae-device"
)
PARTS = "--dit --high --low --text --tokenizer --vae"
DENOISING = "--attention --compile"
SAMPLING = (
    "--boundary --cache --calibration --guidance --guidance-interval --guidance-rescale --negative --schedule "
    "--seed --shift --sigmas --size --solver --steps --switch-step"
)
SERVE = (
    "--allow-host --allow-origin --allow-url-inputs --audio-server --audio-workflow --data --devices --fleet "
    "--fleet-shared --host --json --max-upload --models --new-token --port --speech-server --token-file --verbose"
)
FROZEN = {
    "generate": f"prompt --afresh --angle --audio --audio-start --background --best-of --carried --face --mask "
    f"--relight --replace --calibrate --camera --clips --codec "
    f"--color-match --composition --restart "
    f"--count --detach --extend --fast --fps --frames --from --from-image --hold-colour --image --json --keep-takes "
    f"--label --language --last-image --lens --light --lora --no-overwrite --output --overwrite --pose --quality --say "
    f"--seconds --server --shot-size --speaker --strength --style --task --time --token-file --tone --video --voice "
    f"--voice-sample --workflow-node -o {PROVENANCE} {MACHINE} {PARTS} {SAMPLING} {DENOISING}",
    "image": f"prompt --angle --camera --composition --count --detach --extend --fast --from --json --label --lens "
    f"--light --lora --no-overwrite --output --overwrite --server --shot-size --style --time --token-file --tone -o "
    f"{PROVENANCE} {MACHINE} {PARTS} {SAMPLING} {DENOISING}",
    "storyboard": f"script --film --fps --from-stills --join --json --label --lora --output --plan --quality --retry "
    f"--detach --server --still-model --token-file -o "
    f"{PROVENANCE} {MACHINE} {PARTS} {SAMPLING} {DENOISING}",
    "preprocess": "driving --driving --fps --image --json --mask --mask-blocks --mask-growth --models --output "
    "--person --redraw --replace --seconds --setup --size --wheel -o",
    "decode": f"latents --codec --json --no-overwrite --output --overwrite --quality -o {PROVENANCE} {MACHINE} {PARTS}",
    "vocabulary": "axis --json --language",
    "extend": "prompt --engine --image --json --language --seed",
    "timeline": "files --dissolve --fps --json --media --no-overwrite --output --overwrite --size -o",
    "render": f"file --captions --format --json --loudness --no-overwrite --output --overwrite --quality --size -o "
    f"{PROVENANCE}",
    "export": "file --format --json --no-overwrite --output --overwrite -o",
    "models": "name --json",
    "plan": "model --device --dtype --frames --gpu --gpus --guidance --json --link --memory --parallel --quantize "
    "--ram --seconds --size --steps --table --task --vae-dtype --vram",
    "download": "name --from --json --to",
    "inspect": "path --json",
    "convert": "source target --dtype --json --to",
    "verify": "path --hashes --json --no-hashes",
    "train": f"recipe --check --device --gpus --json --minutes --steps {PARTS}",
    "curate": "folder --cut --json --keep-duplicates --max-brightness --max-cuts --max-motion --max-text "
    "--min-brightness --min-motion --min-sharpness --output -o",
    "caption": "folder --frames --hint --json --language --model --overwrite --server --timeout",
    "studio": f"{SERVE} --no-browser",
    "serve": SERVE,
    "show": "file --json",
    "measure": "file --against --fps --json --output -o",
    "drift": "file --fps --json --output --plot -o",
    "eval": "recipe --afresh --restart --json --output -o",
    "doctor": "--json --no-test --test",
    "data": "",
    "jobs": "",
}
SERVER = "--json --server --token-file"
OF_JOBS = {
    "list": f"--limit --state --text --trashed {SERVER}",
    "show": f"id {SERVER}",
    "watch": f"id {SERVER}",
    **dict.fromkeys(("cancel", "pause", "resume"), f"ids {SERVER}"),
    "move": f"id --before --first --last --priority {SERVER}",
    **dict.fromkeys(("retry", "trash", "restore", "purge"), f"ids {SERVER}"),
    "download": f"id --no-overwrite --output --overwrite -o {SERVER}",
}


def names(command):
    """The arguments and options of a command."""
    said = [name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)]
    return sorted(name for name in said if name not in ("--help", "-h"))


def test_the_commands_are_frozen():
    assert list(COMMANDS) == list(FROZEN)


@pytest.mark.parametrize("name", FROZEN)
def test_the_options_of_a_command_are_frozen(name):
    assert names(COMMANDS[name]) == sorted(FROZEN[name].split())


def test_the_commands_of_a_group_are_frozen():
    found = {name: names(command) for name, command in COMMANDS["jobs"].commands.items()}
    assert found == {name: sorted(words.split()) for name, words in OF_JOBS.items()}
    assert all(
        parameter.help for command in COMMANDS["jobs"].commands.values() for parameter in command.params
    )


@pytest.mark.parametrize("name", FROZEN)
def test_every_command_and_option_explains_itself(name):
    assert COMMANDS[name].help
    for parameter in COMMANDS[name].params:
        assert parameter.help, f"{name} {parameter.opts} has no help"


def test_a_default_that_is_the_models_own_is_said_in_the_help():
    helps = {parameter.name: parameter.help for parameter in COMMANDS["generate"].params}
    for option in ("size", "frames", "fps", "steps", "solver", "shift", "guidance", "negative"):
        assert "default: the model's own" in helps[option]
