"""The table of the endpoints of Runway's own API that create a task.

Source of names and limits: the types of the vendor's SDK for Python (runwayml/sdk-python).
"""

from types import MappingProxyType
from typing import Final

from service.providers.kit.input_schema import InputField
from service.providers.protocol import LostAnswerPolicy, Operation

PROMPT_LIMITS: Final = MappingProxyType(
    {
        "gen4.5": 1000,
        "gen4_turbo": 1000,
        "gen4_image": 1000,
        "gen4_image_turbo": 1000,
        "veo3": 1000,
        "veo3.1": 1000,
        "veo3.1_fast": 1000,
        "eleven_multilingual_v2": 1000,
        "seedance2": 3500,
        "seedance2_fast": 3500,
        "seedance2_mini": 3500,
    }
)
"""The longest `promptText` by model, in UTF-16 code units; other models are not limited here."""
_SHORT_SECONDS, _LONG_SECONDS = 3600, 7200
_MODEL: Final = InputField(
    name="model", kind="string", summary="The model.", required=True, example="gen4.5"
)
_PROMPT: Final = InputField(
    name="promptText", kind="string", summary="What the result should be.", required=True
)
_OPTIONAL_PROMPT: Final = InputField(
    name="promptText", kind="string", summary="What should happen in the video."
)
_RATIO: Final = InputField(
    name="ratio", kind="string", summary="The resolution, as in 1280:720.", example="1280:720"
)
_DURATION: Final = InputField(
    name="duration", kind="integer", summary="Length of the video in seconds.", minimum=1
)
_SEED: Final = InputField(
    name="seed",
    kind="integer",
    summary="The same seed gives a similar result.",
    minimum=0,
    maximum=4294967295,
)
_ROWS: Final[tuple[tuple[str, str, int, tuple[InputField, ...]], ...]] = (
    (
        "image_to_video",
        "Make a video from an image.",
        _LONG_SECONDS,
        (
            InputField(
                name="promptImage",
                kind="any",
                summary="The first frame: a URL or data URI, or a list of frames.",
                required=True,
            ),
            _OPTIONAL_PROMPT,
            _RATIO,
            _DURATION,
            _SEED,
        ),
    ),
    (
        "text_to_video",
        "Make a video from a prompt.",
        _LONG_SECONDS,
        (_PROMPT, _RATIO, _DURATION, _SEED),
    ),
    ("text_to_image", "Make images from a prompt.", _SHORT_SECONDS, (_PROMPT, _RATIO, _SEED)),
    ("video_to_video", "Transform a video.", _LONG_SECONDS, (_OPTIONAL_PROMPT, _RATIO, _SEED)),
    (
        "character_performance",
        "Animate a character with a performance (Act-Two).",
        _LONG_SECONDS,
        (_RATIO, _SEED),
    ),
    ("video_upscale", "Enlarge a video.", _LONG_SECONDS, ()),
    ("image_upscale", "Enlarge an image.", _SHORT_SECONDS, ()),
    ("text_to_speech", "Speak a text.", _SHORT_SECONDS, (_PROMPT,)),
    ("sound_effect", "Make a sound from a prompt.", _SHORT_SECONDS, (_PROMPT,)),
    ("speech_to_speech", "Change the voice of a recording.", _SHORT_SECONDS, ()),
    ("voice_dubbing", "Translate the speech of a recording.", _SHORT_SECONDS, ()),
    ("voice_isolation", "Remove everything but the voice.", _SHORT_SECONDS, ()),
)
OPERATIONS: Final = MappingProxyType(
    {
        name: Operation(
            name=name,
            summary=summary,
            inputs=(_MODEL, *inputs),
            answers_immediately=False,
            # No reference of ours is stored with a task, so a lost one cannot be found again.
            on_lost_answer=LostAnswerPolicy.FAIL,
            deadline_seconds=seconds,
        )
        for name, summary, seconds, inputs in _ROWS
    }
)
