"""Runware's task types by name; renamed types are listed under both names.

The second column of ROWS is the deadline in seconds. Video and 3D models take long, and some of
them report progress. The cost of a result is reported for every type if the input has
`includeCost`.
"""

from typing import Final

ANSWER_SECONDS: Final = 300
SHORT_SECONDS: Final = 3600
LONG_SECONDS: Final = 7200
DAY_SECONDS: Final = 86400

ROWS: Final[tuple[tuple[str, int, str], ...]] = (
    ("caption", SHORT_SECONDS, "Describe an image or a video in words."),
    ("imageInference", SHORT_SECONDS, "Generate images, with a callback for each of them."),
    ("videoInference", LONG_SECONDS, "Generate videos; some models report their progress."),
    ("audioInference", SHORT_SECONDS, "Generate speech, music or sounds."),
    ("textInference", SHORT_SECONDS, "Generate text."),
    ("3dInference", LONG_SECONDS, "Generate a 3D model."),
    ("imageUpscale", SHORT_SECONDS, "Enlarge an image."),
    ("upscale", LONG_SECONDS, "Enlarge an image or a video."),
    ("imageBackgroundRemoval", SHORT_SECONDS, "Remove the background of an image."),
    ("removeBackground", LONG_SECONDS, "Remove the background of an image or a video."),
    ("imageControlNetPreProcess", SHORT_SECONDS, "Make a guide image for ControlNet."),
    ("controlNetPreprocess", SHORT_SECONDS, "Make a guide image for ControlNet."),
    ("imageMasking", SHORT_SECONDS, "Find faces, hands or people and mask them."),
    ("photoMaker", SHORT_SECONDS, "Generate images of a person from photographs."),
    ("vectorize", SHORT_SECONDS, "Convert an image to vector graphics."),
    ("training", DAY_SECONDS, "Train a model on your images."),
    ("promptEnhance", SHORT_SECONDS, "Improve prompts."),
    ("modelUpload", LONG_SECONDS, "Add a model; the job ends when it is ready to be used."),
)
IMMEDIATE_ROWS: Final[tuple[tuple[str, str], ...]] = (
    ("imageUpload", "Store an image; its UUID is an input of other tasks."),
    ("mediaStorage", "Store or delete an image, a video, audio or a 3D model."),
    ("modelSearch", "Search for models."),
)
"""Task types whose response is the result: they take neither a webhook nor a delivery method."""
CONTROL_TYPES: Final = frozenset(
    {"authentication", "ping", "getresponse", "gettaskdetails", "accountmanagement"}
)
"""Task types, in lower case, that manage the connection or the operator's account."""
_GENERATION_TYPES: Final = frozenset({"imageCaption"} | {name for name, _, _ in ROWS}) - {
    "modelUpload"
}


def has_known_results(task_type: str) -> bool:
    """Whether all results of *task_type* are files, text or data under known keys."""
    return task_type in _GENERATION_TYPES or task_type.lower() in CONTROL_TYPES
