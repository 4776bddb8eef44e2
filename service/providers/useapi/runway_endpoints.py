"""More endpoints of useapi.net that send callbacks: path, deadline in seconds, summary, fields."""

from typing import Final

from service.providers.kit.input_schema import InputField
from service.providers.useapi.fields import (
    NUMBER_OF_IMAGES,
    ORIENTATION,
    RATIO,
    SEED,
    asset,
    choice,
    flag,
    integer,
    number,
    prompt,
)

IMAGE_SECONDS: Final = 3600
VIDEO_SECONDS: Final = 7200

_SECONDS: Final = choice("seconds", "Length of the video in seconds.", 5, 10)
_VIDEO: Final = asset("assetId", "The id of the video asset.", required=True)
_HD: Final = choice("resolution", "The resolution.", "720p")
_FIRST_IMAGE: Final = asset("firstImage_assetId", "The id of the first image.", required=True)
_CAMERA: Final = tuple(
    integer(name, -10, 10, "Movement of the camera.")
    for name in ("horizontal", "vertical", "roll", "zoom", "pan", "tilt")
)
_CHARACTER: Final = (
    asset("driving_assetId", "The id of the video with the performance.", required=True),
    asset("character_assetId", "The id of the image or video of the character.", required=True),
)
_ACT_ONE: Final = (
    *_CHARACTER,
    integer("motion_multiplier", 1, 5, "How expressive the motion is; 3 by default."),
    ORIENTATION,
)
_TRANSFORM: Final = (
    _VIDEO,
    prompt(required=True),
    integer("structure_transformation", 0, 10, "How much the structure changes; 3 by default."),
    _HD,
    SEED,
    _SECONDS,
)

ROWS: Final[tuple[tuple[str, int, str, tuple[InputField, ...]], ...]] = (
    (
        "images/create",
        IMAGE_SECONDS,
        "Generate images with one of Runway's image models.",
        (
            InputField(name="model", kind="string", summary="The image model.", required=True),
            prompt(max_length=5000),
            NUMBER_OF_IMAGES,
            integer("diversity", 1, 5, "Aesthetic range, of Gen-4 only."),
            SEED,
        ),
    ),
    (
        "videos/upscale",
        VIDEO_SECONDS,
        "Upscale a video of at most 40 seconds to 4K.",
        (asset("videoAssetId", "The id of the video asset.", required=True),),
    ),
    (
        "gen4turbo/create",
        VIDEO_SECONDS,
        "Generate a video with Gen-4 Turbo.",
        (_FIRST_IMAGE, prompt(), RATIO, _SECONDS, SEED),
    ),
    (
        "gen4_5/create",
        VIDEO_SECONDS,
        "Generate a video with Gen-4.5.",
        (
            asset("firstImage_assetId", "The id of the first image."),
            prompt(max_length=5000),
            RATIO,
            choice("seconds", "Length of the video in seconds; 5 by default.", 5, 8, 10),
            SEED,
        ),
    ),
    (
        "gen4/create",
        VIDEO_SECONDS,
        "Generate a video with Gen-4.",
        (_FIRST_IMAGE, prompt(), RATIO, _SECONDS, SEED),
    ),
    ("gen4/upscale", VIDEO_SECONDS, "Upscale a Gen-4 video.", (_VIDEO,)),
    (
        "gen4/act-two",
        VIDEO_SECONDS,
        "Animate a character with the motion of a performance (Act-Two).",
        (
            *_CHARACTER,
            integer("expression_intensity", 1, 5, "How expressive the face is; 3 by default."),
            flag("body_control", "Whether gestures are followed; true by default."),
            RATIO,
            SEED,
        ),
    ),
    (
        "gen4/act-two-voice",
        VIDEO_SECONDS,
        "Change the voice of an Act-Two performance.",
        (
            asset("video_assetId", "The id of the video, 3 to 30 seconds long.", required=True),
            InputField(
                name="voiceId",
                kind="string",
                summary="The id of a voice, as `lipsync.voices` lists it.",
                required=True,
            ),
        ),
    ),
    (
        "gen4/video",
        VIDEO_SECONDS,
        "Edit or transform a video with Gen-4 (Aleph).",
        (
            asset("video_assetId", "The id of the video.", required=True),
            asset("image_assetId", "The id of an image that conditions the result."),
            prompt(required=True),
            SEED,
        ),
    ),
    (
        "gen3turbo/create",
        VIDEO_SECONDS,
        "Generate a video with Gen-3 Alpha Turbo.",
        (
            asset("firstImage_assetId", "The id of the first image."),
            asset("lastImage_assetId", "The id of the last image."),
            prompt(),
            ORIENTATION,
            _SECONDS,
            SEED,
            *_CAMERA,
        ),
    ),
    (
        "gen3turbo/video",
        VIDEO_SECONDS,
        "Transform a video with Gen-3 Alpha Turbo.",
        (*_TRANSFORM, ORIENTATION),
    ),
    (
        "gen3turbo/extend",
        VIDEO_SECONDS,
        "Extend a Gen-3 Alpha Turbo video.",
        (_VIDEO, SEED, prompt()),
    ),
    (
        "gen3turbo/expand",
        VIDEO_SECONDS,
        "Expand the frame of a video with Gen-3 Alpha Turbo.",
        (
            asset("videoAssetId", "The id of the video.", required=True),
            asset("imageAssetId", "The id of an image that conditions the result."),
            prompt(),
            SEED,
            choice("outpaint_aspect_ratio", "The new orientation.", "landscape", "portrait"),
        ),
    ),
    ("gen3turbo/actone", VIDEO_SECONDS, "Animate a character with Act-One, turbo.", _ACT_ONE),
    (
        "gen3/create",
        VIDEO_SECONDS,
        "Generate a video with Gen-3 Alpha.",
        (
            asset("image_assetId", "The id of an image."),
            flag("image_as_end_frame", "Whether the image is the last frame."),
            flag("enhance_prompt", "Whether the prompt is rewritten."),
            prompt(),
            SEED,
            _SECONDS,
            _HD,
        ),
    ),
    ("gen3/video", VIDEO_SECONDS, "Transform a video with Gen-3 Alpha.", _TRANSFORM),
    (
        "gen3/extend",
        VIDEO_SECONDS,
        "Extend a Gen-3 Alpha video.",
        (_VIDEO, SEED, _SECONDS, prompt()),
    ),
    ("gen3/actone", VIDEO_SECONDS, "Animate a character with Act-One.", _ACT_ONE),
    ("gen3alpha/upscale", VIDEO_SECONDS, "Upscale a Gen-3 video to 4K.", (_VIDEO,)),
    (
        "gen2/create",
        VIDEO_SECONDS,
        "Generate a video with Gen-2.",
        (
            prompt(),
            asset("image_assetId", "The id of an image."),
            flag("interpolate", "Whether frames are interpolated."),
            flag("upscale", "Whether the video has 2K instead of 720p."),
            RATIO,
            SEED,
            integer("motion", 1, 10, "How much moves."),
            *_CAMERA,
        ),
    ),
    (
        "gen2/extend",
        VIDEO_SECONDS,
        "Extend a Gen-2 video.",
        (
            _VIDEO,
            flag("interpolate", "Whether frames are interpolated."),
            SEED,
            integer("motion", 1, 10, "How much moves."),
            *_CAMERA,
        ),
    ),
    (
        "lipsync/create",
        VIDEO_SECONDS,
        "Make a face in an image or a video speak.",
        (
            asset("image_assetId", "The id of an image."),
            asset("video_assetId", "The id of a video."),
            asset("audio_assetId", "The id of a sound."),
            InputField(name="voiceId", kind="string", summary="A voice of `lipsync.voices`."),
            InputField(name="voice_text", kind="string", summary="The text to be spoken."),
        ),
    ),
    (
        "super_slow_motion",
        VIDEO_SECONDS,
        "Slow a video down with generated frames.",
        (
            _VIDEO,
            number("speed", 0.1, 1, "The speed; 1 is that of the original.", required=True),
            choice("format", "The format; mp4 by default.", "mp4", "prores"),
        ),
    ),
)
