"""Runware's task types by name; renamed types are listed under both names.

The second column is the deadline in seconds. Video and 3D models take long, and some of them report
progress. The cost of a result is reported for every type if the input has `includeCost`.
"""

from typing import Final

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
)
