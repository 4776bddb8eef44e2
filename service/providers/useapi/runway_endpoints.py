"""More endpoints of useapi.net that send callbacks: path, deadline in seconds, summary.

The vendor documents no limits for their parameters, so the parameters are not validated.
"""

from typing import Final

IMAGE_SECONDS: Final = 3600
VIDEO_SECONDS: Final = 7200

ROWS: Final[tuple[tuple[str, int, str], ...]] = (
    ("images/create", IMAGE_SECONDS, "Generate images with one of Runway's image models."),
    ("videos/create", VIDEO_SECONDS, "Generate a video with one of Runway's video models."),
    ("videos/upscale", VIDEO_SECONDS, "Upscale a generated video."),
    ("gen4turbo/create", VIDEO_SECONDS, "Generate a video with Gen-4 Turbo."),
    ("gen4_5/create", VIDEO_SECONDS, "Generate a video with Gen-4.5."),
    ("gen4/create", VIDEO_SECONDS, "Generate a video with Gen-4."),
    ("gen4/upscale", VIDEO_SECONDS, "Upscale a Gen-4 video."),
    (
        "gen4/act-two",
        VIDEO_SECONDS,
        "Animate a character with the motion of a performance (Act-Two).",
    ),
    ("gen4/act-two-voice", VIDEO_SECONDS, "Change the voice of an Act-Two performance."),
    ("gen4/video", VIDEO_SECONDS, "Edit or transform a video with Gen-4 (Aleph)."),
    ("gen3turbo/create", VIDEO_SECONDS, "Generate a video with Gen-3 Alpha Turbo."),
    ("gen3turbo/video", VIDEO_SECONDS, "Transform a video with Gen-3 Alpha Turbo."),
    ("gen3turbo/extend", VIDEO_SECONDS, "Extend a Gen-3 Alpha Turbo video."),
    ("gen3turbo/expand", VIDEO_SECONDS, "Expand the frame of a video with Gen-3 Alpha Turbo."),
    ("gen3turbo/actone", VIDEO_SECONDS, "Animate a character with Act-One, turbo."),
    ("gen3/create", VIDEO_SECONDS, "Generate a video with Gen-3 Alpha."),
    ("gen3/video", VIDEO_SECONDS, "Transform a video with Gen-3 Alpha."),
    ("gen3/extend", VIDEO_SECONDS, "Extend a Gen-3 Alpha video."),
    ("gen3/actone", VIDEO_SECONDS, "Animate a character with Act-One."),
    ("gen3alpha/upscale", VIDEO_SECONDS, "Upscale a Gen-3 video to 4K."),
    ("gen2/create", VIDEO_SECONDS, "Generate a video with Gen-2."),
    ("gen2/extend", VIDEO_SECONDS, "Extend a Gen-2 video."),
    ("lipsync/create", VIDEO_SECONDS, "Make a face in an image or a video speak."),
    ("super_slow_motion", VIDEO_SECONDS, "Slow a video down with generated frames."),
)
