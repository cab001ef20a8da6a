"""The audio of a video from the command line: a file, or a text that is spoken.

What is spoken is kept in the user's cache, so that a video that is made again, or goes on after an
interruption, has the same audio, and a server is asked once.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wan22.errors import MediaError, OptionError
from wan22.fields import called

if TYPE_CHECKING:
    from wan22.production.events import EventSink
    from wan22.types import Audio

KEY = "WAN22_SPEECH_KEY"
"""The environment variable with the key of a speech server."""


@dataclass(frozen=True)
class AudioTrack:
    """The audio under a video: a file, and the piece of it from `start` on for `seconds`.

    `said` is the recipe's entry of a spoken one.
    """

    path: str
    start: float = 0.0
    seconds: float | None = None
    said: dict[str, Any] = field(default_factory=dict)

    def samples(self) -> Audio:
        """The audio as a network reads it."""
        from wan22.media.audio import read_audio

        return read_audio(self.path, start=self.start, seconds=self.seconds)

    def under(self, silent: Path, whole: Path) -> None:
        """Write the video `silent` to `whole` with this audio under it."""
        from wan22.media.audio_track import add_audio

        add_audio(silent, self.path, whole, start=self.start, seconds=self.seconds)

    def kept_under(self, silent: Path, whole: Path, events: EventSink) -> None:
        """As `under`; audio that cannot be read leaves the video silent, and is named."""
        try:
            self.under(silent, whole)
        except MediaError as error:
            events.note(f"{_lost(self.path)}: {error}")
            silent.replace(whole)


def of_video(source: str, output: str, events: EventSink) -> AudioTrack | None:
    """The audio of the video `source`, for a video that is made from it frame by frame; from its first frame on.

    None if it has none, or if it cannot be kept at `output`, which is said.
    """
    from wan22.media.audio import AudioReader
    from wan22.media.audio_track import can_carry_audio
    from wan22.media.output_paths import SEQUENCE, target_kind
    from wan22.media.sequence import is_sequence
    from wan22.media.video import probe

    if is_sequence(source) or not probe(source).has_audio:
        return None
    if not can_carry_audio(output):
        kind = "a PNG sequence" if target_kind(output) == SEQUENCE else f"a {target_kind(output)}"
        events.note(f"{_lost(source)}: {kind} has none. A .mp4, .mov or .webm keeps it")
        return None
    try:
        return AudioTrack(source, start=AudioReader(source).lead)
    except MediaError as error:
        events.note(f"{_lost(source)}: {error}")
        return None


def _lost(source: str) -> str:
    return f"the audio of {source} is not kept"


@dataclass(frozen=True)
class AudioOptions:
    """What was asked of a video's audio, as typed."""

    audio: str | None = None
    say: str | None = None
    start: float | None = None
    seconds: float | None = None
    speaker: str | None = None
    voice: str | None = None
    language: str | None = None
    voice_sample: str | None = None

    @property
    def given(self) -> bool:
        return self.audio is not None or self.say is not None

    def open(self) -> AudioTrack | None:
        """The audio_track; speaks the text if one was given. Raises OptionError for options that do not go together."""
        if self.audio is not None and self.say is not None:
            raise OptionError(
                f"give an audio file with {called('audio')}, or a text with {called('say')}, not both"
            )
        if self.say is None:
            for name in ("speaker", "voice", "language", "voice_sample"):
                if getattr(self, name) is not None:
                    raise OptionError(
                        f"{called(name)} is for a text that is spoken; give one with {called('say')}"
                    )
        if self.start is not None and not self.given:
            raise OptionError(
                f"{called('audio_start')} says where in an audio file the video begins; give the audio with "
                f"{called('audio')}"
            )
        if self.say is not None:
            return self._spoken(self.say)
        return None if self.audio is None else AudioTrack(self.audio, self.start or 0.0, self.seconds)

    def _spoken(self, text: str) -> AudioTrack:
        from wan22.media.audio import write_audio
        from wan22.media.say import open_tts

        speaker = open_tts(
            self.speaker or "espeak",
            voice=self.voice,
            language=self.language,
            key=os.environ.get(KEY) if (self.speaker or "").startswith("http") else None,
            sample=self.voice_sample,
        )
        said = speaker.describe(text)
        path = (
            speech_folder()
            / f"{hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()[:32]}.wav"
        )
        if not path.is_file():
            path.parent.mkdir(parents=True, exist_ok=True)
            write_audio(path, speaker.say(text), exact=True)
        return AudioTrack(str(path), self.start or 0.0, self.seconds, said)


def speech_folder() -> Path:
    """Where spoken texts are kept."""
    from platformdirs import user_cache_path

    return user_cache_path("wan22") / "speech"
