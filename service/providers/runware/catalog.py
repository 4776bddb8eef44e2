"""Runware's task types by name, in both spellings; any other is taken by name as well.

The second column is the deadline. Video and 3D models take long and some of them report their
progress; `cost` comes with every type if the input says `includeCost`.
"""

from typing import Final

SHORT_SECONDS: Final = 3600
LONG_SECONDS: Final = 7200
DAY_SECONDS: Final = 86400

ROWS: Final[tuple[tuple[str, int, str], ...]] = (
    ("caption", SHORT_SECONDS, "Describe an image or a video in words."),
    ("imageInference", SHORT_SECONDS, "Generate images; a callback for each of numberResults."),
    ("videoInference", LONG_SECONDS, "Generate videos; some models report their progress."),
    ("audioInference", SHORT_SECONDS, "Generate speech, music or sounds."),
    ("textInference", SHORT_SECONDS, "Generate text."),
    ("3dInference", LONG_SECONDS, "Generate a 3D model."),
    ("imageUpscale", SHORT_SECONDS, "Enlarge an image."),
    ("upscale", LONG_SECONDS, "Enlarge an image or a video."),
    ("imageBackgroundRemoval", SHORT_SECONDS, "Cut out the subject of an image."),
    ("removeBackground", LONG_SECONDS, "Cut out the subject of an image or a video."),
    ("imageControlNetPreProcess", SHORT_SECONDS, "Prepare a guide image for ControlNet."),
    ("controlNetPreprocess", SHORT_SECONDS, "Prepare a guide image for ControlNet."),
    ("imageMasking", SHORT_SECONDS, "Find faces, hands or people and mask them."),
    ("photoMaker", SHORT_SECONDS, "Generate images of one person from photographs."),
    ("vectorize", SHORT_SECONDS, "Turn an image into vectors."),
    ("training", DAY_SECONDS, "Train a model on images of yours."),
    ("promptEnhance", SHORT_SECONDS, "Write better prompts."),
)
