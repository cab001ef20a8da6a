"""The director over HTTP: its vocabulary, and a prompt extended by rules."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Response
from pydantic import BaseModel, Field

from wan22.director.terms import AXES, LANGUAGES, Axis, Term
from wan22.server.native import Strict
from wan22.server.problems import Refusal
from wan22.server.state import App

router = APIRouter(prefix="/v1", tags=["direction"])

MAX_PROMPT = 8000
"""Characters of a prompt that is extended; director/brief.py's limit."""


class TermView(BaseModel):
    """An answer on an axis. `names` by language, for people; `prompt` by language, what stands in a prompt.

    `image`: where the studio's files show it, below the page's address.
    """

    key: str
    names: dict[str, str]
    prompt: dict[str, str]
    image: str


class AxisView(BaseModel):
    """A question about a shot. `many`: it may have several answers. `option`: the field of a request for it."""

    key: str
    names: dict[str, str]
    many: bool
    option: str
    terms: list[TermView]


class Vocabulary(BaseModel):
    """The director's words. `excludes`: pairs of terms that no shot has together, beyond those of an axis with one
    answer.
    """

    languages: list[str]
    axes: list[AxisView]
    excludes: list[list[str]]


def image_of(term: Term) -> str:
    """Where the picture of a term lies among the studio's files."""
    return f"terms/{term.axis}/{term.key}.webp"


def _names(of: Axis | Term) -> dict[str, str]:
    return dict(zip(LANGUAGES, of.names, strict=True))


@router.get("/vocabulary", summary="The director's words")
def show_vocabulary(response: Response) -> Vocabulary:
    """Axes and terms of direction, with their names in en, zh, ko and ja, and what a prompt gets in en and zh."""
    from wan22.director.options import OPTIONS
    from wan22.director.terms import EXCLUDES

    options = {key: option for option, keys in OPTIONS.items() for key in keys}
    response.headers["Cache-Control"] = "private, max-age=3600"
    return Vocabulary(
        languages=list(LANGUAGES),
        axes=[
            AxisView(
                key=axis.key, names=_names(axis), many=axis.many, option=options[axis.key],
                terms=[
                    TermView(
                        key=term.key, names=_names(term), prompt={"en": term.en, "zh": term.zh},
                        image=image_of(term),
                    )
                    for term in axis.terms
                ],
            )
            for axis in AXES
        ],
        excludes=sorted(sorted(pair) for pair in EXCLUDES),
    )  # fmt: skip


class Extension(Strict):
    """A prompt to be extended, also one that changes on the way ("@0s ... @5s ...").

    `image`: the video begins with an image, whose light is there already.
    """

    prompt: Annotated[str, Field(max_length=MAX_PROMPT)]
    terms: list[Annotated[str, Field(max_length=100)]] = Field(
        default=[], max_length=40, description="Keys of terms that are put around the prompt first."
    )
    language: Literal["en", "zh"] | None = None
    seed: int = Field(default=0, ge=0, lt=2**63, description="Another seed extends in another way.")
    image: bool = False


class Said(BaseModel):
    """A term that a prompt says. `added`: the extension did."""

    axis: str
    key: str
    added: bool


class Extended(BaseModel):
    """A prompt after it was extended. `terms` are those that it says now, `lost` those that it said before."""

    before: str
    prompt: str
    changed: bool
    language: Literal["en", "zh"]
    terms: list[Said]
    lost: list[str]


@router.post("/prompts/extend", summary="Extend a prompt")
def extend_prompt(asked: Extension, app: App) -> Extended:
    """Add what a prompt lacks of the model's formula, by rules: the same for the same seed. Nothing is stored."""
    from wan22.director.shot import add_terms
    from wan22.director.vocabulary import said_in, term
    from wan22.errors import OptionError
    from wan22.production.direction import each_text, engine_of, extended

    app.checker.check_text(asked.prompt, "prompt")
    try:
        more = [term(key) for key in asked.terms]
        directed = each_text(asked.prompt, lambda text: add_terms(text, more, asked.language))
        made: dict[str, Any] = extended(
            directed, engine_of("rules"), seed=asked.seed, image=None, language=asked.language,
            task="i2v" if asked.image else None,
        )  # fmt: skip
    except OptionError as error:
        raise Refusal(422, "invalid_request", " ".join(str(error).split()), param="prompt") from None
    before = {said.term.key for said in said_in(asked.prompt)}
    now = {said.term.key: said.term for said in said_in(made["after"])}
    return Extended(
        before=asked.prompt, prompt=made["after"], changed=made["after"] != asked.prompt, language=made["language"],
        terms=[Said(axis=one.axis, key=key, added=key not in before) for key, one in now.items()],
        lost=sorted(before - set(now)),
    )  # fmt: skip
