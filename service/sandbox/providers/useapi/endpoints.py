"""The endpoints of useapi.net that create a task: for images or for a video."""

from typing import Final

FRAMES: Final = "frames/create"
IMAGES: Final = (FRAMES, "images/create")
VIDEOS: Final = (
    "videos/create",
    "videos/upscale",
    "gen4turbo/create",
    "gen4_5/create",
    "gen4/create",
    "gen4/upscale",
    "gen4/act-two",
    "gen4/act-two-voice",
    "gen4/video",
    "gen3turbo/create",
    "gen3turbo/video",
    "gen3turbo/extend",
    "gen3turbo/expand",
    "gen3turbo/actone",
    "gen3/create",
    "gen3/video",
    "gen3/extend",
    "gen3/actone",
    "gen3alpha/upscale",
    "gen2/create",
    "gen2/extend",
    "lipsync/create",
    "super_slow_motion",
)
