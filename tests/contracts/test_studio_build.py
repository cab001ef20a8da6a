"""The built pages that ship in the wheel are those of the sources in studio/. Without Node: hashes are compared."""

import gzip
import hashlib
import json
import os
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
STUDIO, DIST = ROOT / "studio", ROOT / "wan22" / "studio_dist"
SOURCES = (
    "index.html", "package.json", "package-lock.json", "svelte.config.js", "tsconfig.json", "vite.config.ts",
    "public", "src",
)  # fmt: skip
"""As in studio/vite.config.ts."""
DERIVED = re.compile(r"(\.test\.ts|api-types\.d\.ts)$")
PAGE_BYTES = 150_000
"""The most that a browser loads before the first screen, compressed."""

being_changed = pytest.mark.skipif(
    "WAN22_STUDIO_DIRTY" in os.environ, reason="the sources are being changed: WAN22_STUDIO_DIRTY is set"
)


def files(place: Path, names: tuple[str, ...]) -> dict[str, str]:
    """The hashes of all files, by their paths with slashes."""
    found = [
        path for name in names for path in ((place / name), *(place / name).rglob("*")) if path.is_file()
    ]
    return {
        path.relative_to(place).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in found
    }


def record() -> dict[str, dict[str, str]]:
    return json.loads((DIST / "build.json").read_text(encoding="utf-8"))


@being_changed
def test_the_pages_were_built_from_these_sources():
    sources = {path: each for path, each in files(STUDIO, SOURCES).items() if not DERIVED.search(path)}
    assert record()["sources"] == sources, "run `make studio-build`, and commit wan22/studio_dist"


def test_nobody_changed_the_built_files():
    built = files(DIST, tuple(path.name for path in DIST.iterdir()))
    del built["build.json"]
    assert record()["files"] == built, "run `make studio-build`, and commit wan22/studio_dist"


def test_packages_are_locked_without_the_address_of_a_registry():
    lock = (STUDIO / "package-lock.json").read_text(encoding="utf-8")
    assert "integrity" in lock
    assert "resolved" not in lock and "registry" not in lock


def first_files() -> set[Path]:
    """index.html, what it names, and what those import before anything is drawn."""
    page = DIST / "index.html"
    found, todo = {page}, re.findall(r'(?:src|href)="/([^"]+)"', page.read_text(encoding="utf-8"))
    while todo:
        path = DIST / todo.pop()
        if path in found:
            continue
        found.add(path)
        if path.suffix == ".js":
            text = path.read_text(encoding="utf-8")
            todo += [f"assets/{name}" for name in re.findall(r'(?:from|import)\s*"\./([^"]+)"', text)]
    return found


def test_the_page_is_small_before_lazy_parts():
    sizes = {path.name: len(gzip.compress(path.read_bytes())) for path in first_files()}
    assert any(name.endswith(".js") for name in sizes) and any(name.endswith(".css") for name in sizes)
    assert sum(sizes.values()) <= PAGE_BYTES, sizes


def test_the_page_runs_no_inline_script_and_asks_nobody_else():
    page = (DIST / "index.html").read_text(encoding="utf-8")
    assert not re.findall(r"<script(?![^>]*\bsrc=)", page) and not re.findall(r"<style|\son\w+=", page)
    assert not re.findall(r'(?:src|href)="(?!/)', page)
