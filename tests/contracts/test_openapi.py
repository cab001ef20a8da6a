"""The OpenAPI document is frozen in openapi.json: what clients rely on does not go away.

A change that adds something is frozen by `python tests/contracts/test_openapi.py`, run in the repository's root.
"""

import copy
import json
import tempfile
from pathlib import Path

import pytest

from wan22.jobs.folder import Folder
from wan22.server.app import create_app
from wan22.server.settings import Settings

FROZEN = Path(__file__).with_name("openapi.json")
METHODS = ("get", "post", "put", "patch", "delete")


def document() -> dict:
    with tempfile.TemporaryDirectory() as folder:
        app = create_app(Folder(Path(folder)), Settings())
        try:
            return json.loads(json.dumps(app.openapi()))
        finally:
            app.state.store.close()


def operations(schema) -> dict[str, dict]:
    return {f"{m.upper()} {path}": it[m] for path, it in schema["paths"].items() for m in METHODS if m in it}


def breaking(old, new) -> list[str]:
    """What a client of the old document could miss in the new one, in words."""
    found, now = [], operations(new)
    for name, was in operations(old).items():
        if name not in now:
            found.append(f"{name} is gone")
            continue
        found += [f"{name}: {text}" for text in _operation(was, now[name])]
    parts = new["components"]["schemas"]
    for name, was in old["components"]["schemas"].items():
        if name in parts:
            found += _shape(was, parts[name], name)
        elif f"#/components/schemas/{name}" in json.dumps(new):
            found.append(f"{name} is gone")
    return found


def _operation(was, now) -> list[str]:
    found = []
    before, after = ({(p["in"], p["name"]): p for p in it.get("parameters", [])} for it in (was, now))
    for key, parameter in before.items():
        if key not in after:
            found.append(f"parameter {key[1]} is gone")
        else:
            found += _shape(parameter["schema"], after[key]["schema"], f"parameter {key[1]}")
    found += [
        f"parameter {key[1]} is required now"
        for key, parameter in after.items()
        if parameter.get("required") and not before.get(key, {}).get("required")
    ]
    bodies = [it.get("requestBody", {}) for it in (was, now)]
    if bodies[1].get("required") and not bodies[0].get("required"):
        found.append("a body is required now")
    found += _contents(bodies[0], bodies[1], "body")
    for status, answer in was["responses"].items():
        if status not in now["responses"]:
            found.append(f"answer {status} is gone")
        else:
            found += _contents(answer, now["responses"][status], f"answer {status}")
    return found


def _contents(was, now, where) -> list[str]:
    if was.get("$ref") != now.get("$ref"):
        return [f"{where} is {now.get('$ref')} instead of {was.get('$ref')}"]
    found = []
    for kind, content in was.get("content", {}).items():
        if kind not in now.get("content", {}):
            found.append(f"{where} is no {kind} any more")
        else:
            found += _shape(content.get("schema", {}), now["content"][kind].get("schema", {}), where)
    return found


def _shape(was, now, where) -> list[str]:
    found = [
        f"{where}: {word} is {now.get(word)!r} instead of {was[word]!r}"
        for word in ("type", "$ref", "const")
        if word in was and was[word] != now.get(word)
    ]
    gone = [value for value in was.get("enum", []) if value not in now.get("enum", [value])]
    found += [f"{where}: {value!r} is no value any more" for value in gone]
    more = set(now.get("required", [])) - set(was.get("required", []))
    found += [] if _answered(where) else [f"{where}.{name} is required now" for name in sorted(more)]
    for name, shape in was.get("properties", {}).items():
        if name not in now.get("properties", {}):
            found.append(f"{where}.{name} is gone")
        else:
            found += _shape(shape, now["properties"][name], f"{where}.{name}")
    for low in ("minimum", "minLength", "minItems"):
        if now.get(low, was.get(low, 0)) > was.get(low, float("-inf")) and low in now:
            found.append(f"{where}: {low} is {now[low]} instead of {was.get(low)}")
    for high in ("maximum", "maxLength", "maxItems"):
        if high in now and now[high] < was.get(high, float("inf")):
            found.append(f"{where}: {high} is {now[high]} instead of {was.get(high)}")
    if "items" in was and "items" in now:
        found += _shape(was["items"], now["items"], f"{where}[]")
    return found


def _answered(where) -> bool:
    """Whether a schema is only answered, where more that is required breaks nobody."""
    return where.split(".")[0].split("[")[0] in ANSWERED


ANSWERED = {
    "Job", "JobView", "JobPage", "Capabilities", "Worker", "Model", "Limits", "Versions", "Health", "Ready", "Purged",
}  # fmt: skip


def test_nothing_that_clients_rely_on_went_away():
    assert breaking(json.loads(FROZEN.read_text()), document()) == []


def test_every_operation_is_frozen():
    assert set(operations(document())) == set(operations(json.loads(FROZEN.read_text())))


def change(path, value):
    def apply(schema):
        *way, last = path
        for step in way:
            schema = schema[step]
        if value is None:
            del schema[last]
        else:
            schema[last] = value

    return apply


JOBS = ("paths", "/v1/jobs")
SCHEMAS = ("components", "schemas")


@pytest.mark.parametrize(
    ("apply", "says"),
    [
        (change(("paths", "/v1/jobs/{id}/cancel"), None), "POST /v1/jobs/{id}/cancel is gone"),
        (change((*JOBS, "get", "parameters"), []), "GET /v1/jobs: parameter state is gone"),
        (change((*JOBS, "post", "responses", "201"), None), "POST /v1/jobs: answer 201 is gone"),
        (change((*JOBS, "post", "requestBody", "content"), {}), "body is no application/json any more"),
        (change((*SCHEMAS, "JobView", "properties", "fraction"), None), "JobView.fraction is gone"),
        (change((*SCHEMAS, "NewJob", "required"), ["name"]), "NewJob.name is required now"),
        (change((*SCHEMAS, "Job", "properties", "state", "enum"), ["queued"]), "'running' is no value any more"),
        (change((*SCHEMAS, "Job", "properties", "step", "type"), "string"), "Job.step: type is 'string'"),
        (change((*SCHEMAS, "JobRequest", "properties", "steps", "maximum"), 10), "steps: maximum is 10"),
    ],
)  # fmt: skip
def test_a_breaking_change_is_named(apply, says):
    frozen = json.loads(FROZEN.read_text())
    changed = copy.deepcopy(frozen)
    apply(changed)
    assert any(says in text for text in breaking(frozen, changed)), breaking(frozen, changed)


def test_what_is_added_breaks_nobody():
    frozen = json.loads(FROZEN.read_text())
    more = copy.deepcopy(frozen)
    more["paths"]["/v1/more"] = {"get": {"responses": {}}}
    more["components"]["schemas"]["Job"]["properties"]["more"] = {"type": "string"}
    more["components"]["schemas"]["Job"]["required"].append("more")
    more["components"]["schemas"]["JobRequest"]["properties"]["more"] = {"type": "string"}
    assert breaking(frozen, more) == []


if __name__ == "__main__":
    FROZEN.write_text(json.dumps(document(), indent=1, ensure_ascii=False, sort_keys=True) + "\n")
