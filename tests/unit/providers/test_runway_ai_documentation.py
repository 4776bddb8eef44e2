"""runway-ai.ai's API overview, fact by fact: every request, parameter, option and response.

The payloads are the responses of the overview, verbatim, with its placeholders such as
`{image_id}`.
"""

import json
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

import pytest

from service.domain.jobs.job import Report, Status
from service.domain.jobs.results import Artifact, Output
from service.domain.primitives.errors import Invalid
from service.providers.protocol import ProviderTask, Reply
from service.providers.runway_ai.provider import RunwayAi
from tests.support.paths import PAYLOADS

RUNWAY_AI = RunwayAi()
BASE_URL = "https://api.runway-ai.ai"
IMAGE, VIDEO = f"{BASE_URL}/images/1.jpg", f"{BASE_URL}/videos/1.mp4"
STYLES = ("photorealistic", "sketch", "abstract")
IMAGE_EDITS = ("color-adjust", "add-filter", "resize")
VIDEO_EDITS = ("trim", "add-filter", "adjust-speed")

Parameter = tuple[str, str, bool, tuple[str, ...]]


def required(name: str, kind: str = "string", *options: str) -> Parameter:
    return name, kind, True, options


def optional(name: str, kind: str = "string", *options: str) -> Parameter:
    return name, kind, False, options


PARAMETERS: Final[dict[str, tuple[str, list[Parameter]]]] = {
    "generate-image": ("POST", [required("prompt"), optional("style", "string", *STYLES)]),
    "edit-image": (
        "POST",
        [
            required("image_url"),
            required("edit_type", "string", *IMAGE_EDITS),
            optional("filter"),
            optional("resize_width", "integer"),
            optional("resize_height", "integer"),
        ],
    ),
    "generate-video": (
        "POST",
        [required("prompt"), required("duration", "integer"), optional("fps", "integer")],
    ),
    "edit-video": (
        "POST",
        [
            required("video_url"),
            required("edit_type", "string", *VIDEO_EDITS),
            optional("start_time", "integer"),
            optional("end_time", "integer"),
        ],
    ),
    "video-filter": ("POST", [required("video_url"), required("filter")]),
    "image-metadata": ("GET", [required("image_url")]),
    "video-metadata": ("GET", [required("video_url")]),
    "image-to-video": ("POST", [required("image_url"), required("duration", "integer")]),
    "add-text-to-image": (
        "POST",
        [
            required("image_url"),
            required("text"),
            required("position"),
            optional("font_size", "integer"),
        ],
    ),
    "style-transfer": ("POST", [required("image_url"), required("style_reference")]),
    "resize-video": (
        "POST",
        [
            required("video_url"),
            required("new_width", "integer"),
            required("new_height", "integer"),
        ],
    ),
    "generate-thumbnail": ("POST", [required("video_url"), optional("time_position", "integer")]),
    "extract-audio": ("POST", [required("video_url")]),
    "speed-adjust": ("POST", [required("video_url"), required("speed_factor", "number")]),
    "delete-media": ("DELETE", [required("media_url"), required("auth_token")]),
}
# Each with every documented parameter.
REQUESTS: Final[dict[str, dict[str, Any]]] = {
    "generate-image": {"prompt": "a lighthouse", "style": "sketch"},
    "edit-image": {
        "image_url": IMAGE,
        "edit_type": "resize",
        "filter": "sepia",
        "resize_width": 640,
        "resize_height": 480,
    },
    "generate-video": {"prompt": "a lighthouse", "duration": 5, "fps": 24},
    "edit-video": {"video_url": VIDEO, "edit_type": "trim", "start_time": 0, "end_time": 2},
    "video-filter": {"video_url": VIDEO, "filter": "cinematic"},
    "image-metadata": {"image_url": IMAGE},
    "video-metadata": {"video_url": VIDEO},
    "image-to-video": {"image_url": IMAGE, "duration": 5},
    "add-text-to-image": {
        "image_url": IMAGE,
        "text": "Hello",
        "position": "bottom-right",
        "font_size": 12,
    },
    "style-transfer": {"image_url": IMAGE, "style_reference": IMAGE},
    "resize-video": {"video_url": VIDEO, "new_width": 640, "new_height": 360},
    "generate-thumbnail": {"video_url": VIDEO, "time_position": 3},
    "extract-audio": {"video_url": VIDEO},
    "speed-adjust": {"video_url": VIDEO, "speed_factor": 0.5},
    "delete-media": {"media_url": IMAGE, "auth_token": "token-0123456789"},
}
FILES: Final = {
    "generate-image": ("image", "images/{image_id}.jpg"),
    "edit-image": ("image", "images/{edited_image_id}.jpg"),
    "generate-video": ("video", "videos/{video_id}.mp4"),
    "edit-video": ("video", "videos/{edited_video_id}.mp4"),
    "video-filter": ("video", "videos/{filtered_video_id}.mp4"),
    "image-to-video": ("video", "videos/{video_id}.mp4"),
    "add-text-to-image": ("image", "images/{text_image_id}.jpg"),
    "style-transfer": ("image", "images/{styled_image_id}.jpg"),
    "resize-video": ("video", "videos/{resized_video_id}.mp4"),
    "generate-thumbnail": ("image", "images/{thumbnail_image_id}.jpg"),
    "extract-audio": ("audio", "audios/{audio_id}.mp3"),
    "speed-adjust": ("video", "videos/{adjusted_speed_video_id}.mp4"),
}
MEDIA_TYPES: Final = {"image": "image/jpeg", "video": "video/mp4", "audio": "audio/mpeg"}


def answer(operation: str) -> Output:
    """Read the documented response to *operation*."""
    body = (PAYLOADS / "runway_ai" / f"{operation}.json").read_bytes()
    task = ProviderTask(ref="ref", operation=operation, input=REQUESTS[operation])
    reply = Reply(status=200, headers={"content-type": "application/json"}, body=body)
    report = RUNWAY_AI.read_answer(reply, [task])["ref"]
    assert isinstance(report, Report)
    assert report.status is Status.SUCCEEDED
    assert report.output is not None
    return report.output


def is_accepted(operation: str, given: dict[str, Any]) -> bool:
    try:
        RUNWAY_AI.prepare(RUNWAY_AI.operations[operation], given)
    except Invalid:
        return False
    return True


def test_every_documented_request_has_its_parameters_and_its_response() -> None:
    payloads = {path.stem for path in (PAYLOADS / "runway_ai").iterdir()}

    assert [*RUNWAY_AI.operations] == [*PARAMETERS] == [*REQUESTS], "in the documented order"
    assert payloads == set(PARAMETERS)
    for operation, (_, parameters) in PARAMETERS.items():
        assert [*REQUESTS[operation]] == [name for name, *_ in parameters]


def test_the_base_url_is_the_documented_one() -> None:
    assert RUNWAY_AI.account.base_url == BASE_URL


@pytest.mark.parametrize("operation", PARAMETERS)
def test_the_parameters_and_their_options_are_the_documented_ones(operation: str) -> None:
    inputs = RUNWAY_AI.operations[operation].inputs

    found = [(field.name, field.kind, field.required, field.one_of) for field in inputs]

    assert found == PARAMETERS[operation][1]


@pytest.mark.parametrize("operation", REQUESTS)
def test_a_documented_request_is_sent_as_documented(operation: str) -> None:
    given = REQUESTS[operation]
    prepared = RUNWAY_AI.prepare(RUNWAY_AI.operations[operation], given)

    call = RUNWAY_AI.submit([ProviderTask(ref="r", operation=operation, input=prepared.input)])

    url = urlsplit(call.path)
    assert (call.method, url.path) == (PARAMETERS[operation][0], f"/v1/{operation}")
    if call.method == "GET":
        assert call.body is None
        assert parse_qs(url.query) == {name: [value] for name, value in given.items()}
    else:
        assert json.loads(call.body or b"") == given
        assert not url.query


@pytest.mark.parametrize("operation", REQUESTS)
def test_only_required_parameters_must_be_given(operation: str) -> None:
    for name, _, is_required, _ in PARAMETERS[operation][1]:
        rest = {key: value for key, value in REQUESTS[operation].items() if key != name}

        assert is_accepted(operation, rest) is not is_required, name


@pytest.mark.parametrize("operation", REQUESTS)
def test_documented_options_are_accepted_and_others_are_not(operation: str) -> None:
    for name, _, _, options in PARAMETERS[operation][1]:
        for option in options:
            assert is_accepted(operation, REQUESTS[operation] | {name: option})
            assert not is_accepted(operation, REQUESTS[operation] | {name: option.upper()})


@pytest.mark.parametrize(
    ("operation", "name", "value"),
    [
        *(("edit-image", "filter", value) for value in ("sepia", "black-and-white")),
        *(("video-filter", "filter", value) for value in ("vintage", "cinematic")),
        ("video-filter", "filter", "black-and-white"),
        *(("add-text-to-image", "position", value) for value in ("top-left", "bottom-right")),
        *(("speed-adjust", "speed_factor", value) for value in (0.5, 2)),
    ],
)
def test_documented_examples_are_accepted(operation: str, name: str, value: object) -> None:
    assert is_accepted(operation, REQUESTS[operation] | {name: value})


@pytest.mark.parametrize("operation", FILES)
def test_a_documented_response_with_a_file_is_an_artifact(operation: str) -> None:
    kind, path = FILES[operation]

    artifact = Artifact(kind=kind, url=f"{BASE_URL}/{path}", media_type=MEDIA_TYPES[kind])

    assert answer(operation) == Output(artifacts=(artifact,))


def test_the_documented_metadata_is_the_data_of_the_output() -> None:
    assert answer("image-metadata") == Output(
        data={
            "image_id": "{image_id}",
            "size": "2MB",
            "width": 1024,
            "height": 768,
            "created_at": "2024-09-12T10:00:00Z",
        }
    )
    assert answer("video-metadata") == Output(
        data={
            "video_id": "{video_id}",
            "size": "50MB",
            "duration": "30s",
            "created_at": "2024-09-12T10:00:00Z",
        }
    )


def test_the_documented_message_of_a_deletion_is_the_text_of_the_output() -> None:
    assert answer("delete-media") == Output(text="Media successfully deleted")
