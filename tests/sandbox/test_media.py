"""The files behind the URLs of the sandbox's artifacts."""

import json
import zlib
from collections.abc import AsyncIterator, Callable
from struct import unpack, unpack_from

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from service.sandbox import Tokens
from service.sandbox.media import files, h264
from service.sandbox.media.files import MediaFile, Tint, read_path
from service.sandbox.media.h264 import Frame
from service.sandbox.media.server import MediaServer, render
from service.sandbox.providers.useapi_services import SERVICES, Service
from tests.sandbox.test_sandbox import World, a_ref, sandbox_world

IMAGE = files.image("a lighthouse")
VIDEO = files.video("a lighthouse")
AUDIO = files.audio("a lighthouse")
MODEL = files.model("a lighthouse")
ALL = [IMAGE, VIDEO, AUDIO, MODEL]
CONTAINERS = {b"moov", b"trak", b"mdia", b"minf", b"dinf", b"stbl"}

Boxes = dict[str, list[bytes]]


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
async def world(anyio_backend: str) -> AsyncIterator[World]:
    assert anyio_backend == "asyncio"
    async with sandbox_world(Tokens().useapi) as client:
        yield client


def png_chunks(data: bytes) -> list[tuple[bytes, bytes]]:
    """Split a PNG file into chunks, checking the CRC of each."""
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    chunks, at = [], 8
    while at < len(data):
        (size,) = unpack_from(">I", data, at)
        name, content = data[at + 4 : at + 8], data[at + 8 : at + 8 + size]
        assert unpack_from(">I", data, at + 8 + size) == (zlib.crc32(name + content),)
        chunks.append((name, content))
        at += 12 + size
    return chunks


def mp4_boxes(data: bytes, path: str = "") -> Boxes:
    """Split an MP4 file into boxes by path, as `moov/trak`; their sizes must add up."""
    found: Boxes = {}
    at = 0
    while at < len(data):
        size, name = unpack_from(">I4s", data, at)
        assert 8 <= size <= len(data) - at
        content, own = data[at + 8 : at + size], f"{path}{name.decode()}"
        found.setdefault(own, []).append(content)
        if name in CONTAINERS:
            found |= mp4_boxes(content, f"{own}/")
        at += size
    return found


def nal_units(data: bytes) -> list[bytes]:
    """Return the frames of an MP4 file, found by its tables of samples."""
    boxes = mp4_boxes(data)
    (table,) = boxes["moov/trak/mdia/minf/stbl/stsz"]
    (offset,) = unpack_from(">I", boxes["moov/trak/mdia/minf/stbl/stco"][0], 8)
    sizes = unpack(f">{len(table) // 4 - 3}I", table[12:])
    units = []
    for size in sizes:
        sample = data[offset : offset + size]
        assert unpack_from(">I", sample) == (size - 4,)
        units.append(sample[4:])
        offset += size
    assert offset == len(data)
    return units


@pytest.mark.parametrize("shape", [(1920, 1088), (1088, 1920), (1, 1), (9999, 1)])
def test_a_picture_is_a_png_whose_pixels_are_all_in_its_palette(shape: tuple[int, int]) -> None:
    file = files.image("a lighthouse", shape=shape)
    chunks = png_chunks(render(file))

    assert [name for name, _ in chunks] == [b"IHDR", b"PLTE", b"IDAT", b"IEND"]
    width, height, depth, colour_type = unpack_from(">IIBB", chunks[0][1])
    assert (width, height, depth, colour_type) == (file.width, file.height, 8, 3)
    rows = zlib.decompress(chunks[2][1])
    assert len(rows) == height * (width + 1)
    assert set(rows[:: width + 1]) == {0}, "no row is filtered"
    assert max(rows) < len(chunks[1][1]) // 3 <= 256


def test_a_picture_has_the_asked_aspect_ratio() -> None:
    assert files.image("", shape=(1920, 1088)).width == 480
    assert files.image("", shape=(1920, 1088)).height == 272
    assert files.image("", shape=(912, 2112)).height == 480


@pytest.mark.parametrize("shape", [None, (0, 5), (-1, 1), ("a", 1), (1.5, 2), (1, 2, 3)])
def test_without_a_usable_aspect_ratio_a_picture_is_wide(shape: object) -> None:
    assert files.image("", shape=shape) == files.image("", shape=(16, 9))


@pytest.mark.parametrize("make", [files.image, files.video, files.audio, files.model])
def test_a_file_is_the_same_for_the_same_prompt_and_differs_for_another(
    make: Callable[..., MediaFile],
) -> None:
    data = render.__wrapped__(make("a bell"))

    assert render.__wrapped__(make("a bell")) == data
    assert render(make("a bell", 1)) != data
    assert render(make("a gong")) != data


def test_a_prompt_may_have_any_characters() -> None:
    assert files.image("\ud800\0ä").shapes != files.image("").shapes


def test_a_tint_changes_the_colours_and_not_the_shapes() -> None:
    plain, grey, sepia = (dict(png_chunks(render(replace(IMAGE, tint=tint)))) for tint in Tint)

    assert plain[b"IDAT"] == grey[b"IDAT"] == sepia[b"IDAT"]
    palette = grey[b"PLTE"]
    assert palette[0::3] == palette[1::3] == palette[2::3]
    assert len({plain[b"PLTE"], palette, sepia[b"PLTE"]}) == 3


def test_the_boxes_of_a_video_are_well_formed_and_its_tables_add_up() -> None:
    boxes = mp4_boxes(render(VIDEO))
    stbl = "moov/trak/mdia/minf/stbl"

    assert [*boxes][:2] == ["ftyp", "moov"], "the header is first, so that players can start early"
    scale, duration = unpack_from(">II", boxes["moov/mvhd"][0], 12)
    assert duration / scale == 2.0
    assert boxes["moov/trak/mdia/mdhd"][0][12:20] == boxes["moov/mvhd"][0][12:20]
    count, ticks = unpack_from(">II", boxes[f"{stbl}/stts"][0], 8)
    assert (count, count * ticks) == (48, duration)
    assert unpack_from(">I", boxes[f"{stbl}/stsz"][0], 8) == (count,)
    assert unpack_from(">III", boxes[f"{stbl}/stsc"][0], 4) == (1, 1, count)
    width, height = unpack(">II", boxes["moov/trak/tkhd"][0][-8:])
    assert (width >> 16, height >> 16) == (VIDEO.width, VIDEO.height)


def test_a_video_starts_with_a_whole_frame_and_later_frames_contain_only_changes() -> None:
    units = nal_units(render(VIDEO))

    assert [unit[0] for unit in units] == [0x65] + [0x61] * 47
    macroblocks = 12 * 7
    assert 384 * macroblocks < len(units[0]) < 390 * macroblocks
    unchanged = [unit for unit in units[1:] if len(unit) < 16]
    assert len(unchanged) == 36
    assert all(len(unit) < len(units[0]) / 3 for unit in units[1:])
    assert not any(code in unit for unit in units for code in (b"\0\0\0", b"\0\0\1", b"\0\0\2"))


def test_samples_that_look_like_a_start_code_are_escaped() -> None:
    black = Frame(16, 16, bytes(256), bytes(64), bytes(64))
    white = Frame(16, 16, b"\xff" * 256, b"\x80" * 64, b"\x80" * 64)

    units = list(h264.encode([white, black]))

    assert b"\0\0\0" not in units[1]
    assert bytes(384) in units[1].replace(b"\0\0\3", b"\0\0")
    assert white.luma in units[0]


def test_a_video_lasts_as_long_as_asked_with_the_asked_frames_per_second() -> None:
    file = replace(VIDEO, milliseconds=10_500, fps=30)

    assert len(nal_units(render(file))) == file.frames == 315


def test_a_sound_is_a_wav_of_the_asked_length() -> None:
    data = render(replace(AUDIO, milliseconds=5500))

    assert data[:4] + data[8:16] == b"RIFFWAVEfmt "
    assert unpack_from("<I", data, 4) == (len(data) - 8,)
    encoding, channels, rate, _, frame, bits = unpack_from("<HHIIHH", data, 20)
    assert (encoding, channels, rate, frame, bits) == (1, 1, 8000, 2, 16)
    assert data[36:40] == b"data"
    assert unpack_from("<I", data, 40) == (len(data) - 44,) == (2 * 44_000,)
    assert max(unpack("<44000h", data[44:])) > 5000


def test_a_model_is_a_glb_whose_views_fill_its_buffer() -> None:
    data = render(MODEL)
    magic, version, size, text_size, text_type = unpack_from("<4sIIII", data)
    document = json.loads(data[20 : 20 + text_size])
    binary_size, binary_type = unpack_from("<II", data, 20 + text_size)

    assert (magic, version, size) == (b"glTF", 2, len(data))
    assert (text_type, binary_type) == (0x4E4F534A, 0x004E4942)
    assert 28 + text_size + binary_size == size
    assert document["buffers"] == [{"byteLength": binary_size}]
    assert sum(view["byteLength"] for view in document["bufferViews"]) == binary_size
    points = document["accessors"][0]
    assert points["count"] * 24 == binary_size
    assert points["count"] % 3 == 0
    assert points["min"][1] == -points["max"][1]


@pytest.mark.parametrize("file", ALL)
def test_a_token_names_exactly_one_file(file: MediaFile) -> None:
    stamped = replace(file, created_at=1_726_135_200, serial=7)

    assert read_path(f"/{file.path}") == file
    assert read_path(f"/{stamped.path}") == stamped
    assert render(stamped) == render(file)


@settings(deadline=None)
@given(st.sampled_from(ALL), st.integers(0, 60), st.sampled_from("AZaz09-_%/.é\0"))
def test_a_changed_token_names_no_file(file: MediaFile, at: int, character: str) -> None:
    path = f"/{file.path}"
    at %= len(path)
    changed = path[:at] + character + path[at + 1 :]

    assert changed == path or read_path(changed) is None


@pytest.mark.parametrize(
    "file",
    [
        replace(IMAGE, width=1025),
        replace(IMAGE, height=15),
        replace(IMAGE, milliseconds=1),
        replace(VIDEO, width=322),
        replace(VIDEO, width=191),
        replace(VIDEO, fps=0),
        replace(VIDEO, fps=61),
        replace(VIDEO, milliseconds=60_001),
        replace(AUDIO, milliseconds=99),
        replace(MODEL, width=16),
    ],
)
def test_a_token_for_a_file_that_is_too_large_names_no_file(file: MediaFile) -> None:
    assert read_path(f"/{file.path}") is None


def test_a_token_with_an_unknown_tint_names_no_file() -> None:
    file = replace(IMAGE, tint=max(Tint) + 1)

    assert read_path(f"/{file.path}") is None


def test_only_the_newest_deletions_are_remembered() -> None:
    server = MediaServer(max_deleted=1)

    assert server.delete(IMAGE)
    assert not server.delete(IMAGE)
    assert server.delete(VIDEO)
    assert server.find(f"http://a/{IMAGE.path}", "http://a/") == IMAGE


@pytest.mark.anyio
@pytest.mark.parametrize("file", ALL)
async def test_a_file_needs_no_credentials_and_says_what_it_is(
    world: World, file: MediaFile
) -> None:
    async with httpx.AsyncClient(base_url=world.url, trust_env=False) as stranger:
        answer = await stranger.get(f"/{file.path}")

    assert answer.status_code == 200
    assert answer.content == render(file)
    assert answer.headers["content-type"] == files.FORMATS[file.kind][1]
    assert answer.headers["content-length"] == str(len(answer.content))
    assert answer.headers["accept-ranges"] == "bytes"


@pytest.mark.anyio
async def test_head_returns_the_size_without_the_content(world: World) -> None:
    answer = await world.head(f"/{VIDEO.path}")

    assert (answer.status_code, answer.content) == (200, b"")
    assert answer.headers["content-length"] == str(len(render(VIDEO)))


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("header", "start", "end"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=0-", 0, None),
        ("bytes=100-199", 100, 200),
        ("bytes=100-9999999999", 100, None),
        ("bytes=-5", -5, None),
        ("bytes=-9999999999", 0, None),
    ],
)
async def test_a_range_of_bytes_is_a_part_of_the_file(
    world: World, header: str, start: int, end: int | None
) -> None:
    content = render(VIDEO)

    answer = await world.get(f"/{VIDEO.path}", headers={"Range": header})

    assert answer.status_code == 206
    assert answer.content == content[start:end]
    first, last, _ = slice(start, end).indices(len(content))
    assert answer.headers["content-range"] == f"bytes {first}-{last - 1}/{len(content)}"


@pytest.mark.anyio
@pytest.mark.parametrize("header", ["bytes=99999999-", "bytes=-0"])
async def test_a_range_beyond_the_end_cannot_be_satisfied(world: World, header: str) -> None:
    answer = await world.get(f"/{VIDEO.path}", headers={"Range": header})

    assert (answer.status_code, answer.content) == (416, b"")
    assert answer.headers["content-range"] == f"bytes */{len(render(VIDEO))}"


@pytest.mark.anyio
@pytest.mark.parametrize(
    "header", ["bytes=-", "bytes=5-2", "bytes=0-1,3-4", "lines=0-1", "bytes=0-99999999999"]
)
async def test_any_other_range_is_ignored(world: World, header: str) -> None:
    answer = await world.get(f"/{VIDEO.path}", headers={"Range": header})

    assert (answer.status_code, answer.content) == (200, render(VIDEO))


@pytest.mark.anyio
async def test_a_range_of_another_version_is_the_whole_file(world: World) -> None:
    etag = (await world.head(f"/{VIDEO.path}")).headers["etag"]
    headers = {"Range": "bytes=0-0"}

    same = await world.get(f"/{VIDEO.path}", headers={**headers, "If-Range": etag})
    other = await world.get(f"/{VIDEO.path}", headers={**headers, "If-Range": '"other"'})

    assert (same.status_code, other.status_code) == (206, 200)


@pytest.mark.anyio
@pytest.mark.parametrize(
    "path",
    [
        "media/image/x.png",
        IMAGE.path.replace(".png", ".mp4"),
        IMAGE.path.replace("image", "video"),
        IMAGE.path.replace("/image/", "/sheet/"),
        f"{IMAGE.path}x",
        replace(IMAGE, width=2000).path,
    ],
)
async def test_a_foreign_token_is_not_found(world: World, path: str) -> None:
    assert (await world.get(f"/{path}")).status_code == 404


@pytest.mark.anyio
async def test_the_overview_page_links_to_a_file_of_each_kind(world: World) -> None:
    links = (await world.get("/")).json()["media"]

    assert [(await world.get(link)).status_code for link in links] == [200] * 4


@pytest.mark.anyio
async def test_a_path_without_a_token_is_not_found(world: World) -> None:
    assert (await world.get("/media/image/")).status_code == 404


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("endpoint", "count", "extension"), [("frames/create", 4, "png"), ("gen4_5/create", 1, "mp4")]
)
async def test_the_artifacts_of_useapi_can_be_opened_and_have_their_true_size(
    world: World, endpoint: str, count: int, extension: str
) -> None:
    ref = a_ref()
    body = {"text_prompt": "a bell", "aspect_ratio": "9:16", "replyUrl": world.inbox.address(ref)}
    await world.post(f"/v1/runwayml/{endpoint}", json={**body, "replyRef": ref})

    artifacts = (await world.inbox.wait(ref, 6))[-1]["artifacts"]

    assert len({artifact["url"] for artifact in artifacts}) == count
    for artifact in artifacts:
        answer = await world.get(artifact["url"])
        assert artifact["url"].startswith(f"{world.url}/media/")
        assert artifact["url"].endswith(extension)
        assert artifact["fileSize"] == str(len(answer.content))
        (preview,) = artifact["previewUrls"]
        assert png_chunks((await world.get(preview)).content)


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("task_type", "key", "media_type"),
    [
        ("imageInference", "imageURL", "image/png"),
        ("videoInference", "videoURL", "video/mp4"),
        ("audioInference", "audioURL", "audio/wav"),
    ],
)
async def test_the_files_of_runware_can_be_opened(
    world: World, task_type: str, key: str, media_type: str
) -> None:
    task = {"taskType": task_type, "taskUUID": a_ref(), "deliveryMethod": "sync", "model": "a:1@1"}
    headers = {"Authorization": f"Bearer {Tokens().runware}"}
    body = [task | {"positivePrompt": "a bell", "width": 768, "height": 1344}]

    [item] = (await world.post("/v1", json=body, headers=headers)).json()["data"]
    answer = await world.get(item[key])

    assert (answer.status_code, answer.headers["content-type"]) == (200, media_type)


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("operation", "media_type"),
    [
        ("text_to_image", "image/png"),
        ("text_to_video", "video/mp4"),
        ("text_to_speech", "audio/wav"),
    ],
)
async def test_the_files_of_runway_can_be_opened(
    world: World, operation: str, media_type: str
) -> None:
    headers = {"Authorization": f"Bearer {Tokens().runway}", "X-Runway-Version": "2024-11-06"}
    body = {"model": "gen4", "promptText": a_ref()}

    task = (await world.post(f"/runway/v1/{operation}", json=body, headers=headers)).json()
    await world.ended(body["promptText"])
    read = await world.get(f"/runway/v1/tasks/{task['id']}", headers=headers)
    answer = await world.get(read.json()["output"][0])

    assert (answer.status_code, answer.headers["content-type"]) == (200, media_type)


@pytest.mark.anyio
async def test_the_files_of_leonardo_can_be_opened(world: World) -> None:
    headers = {"Authorization": f"Bearer {Tokens().leonardo}"}
    body = {"prompt": a_ref(), "num_images": 2, "width": 512, "height": 512}

    job = (await world.post("/leonardo/v1/generations", json=body, headers=headers)).json()
    await world.ended(str(body["prompt"]))
    path = f"/leonardo/v1/generations/{job['sdGenerationJob']['generationId']}"
    found = (await world.get(path, headers=headers)).json()["generations_by_pk"]

    urls = {one["url"] for one in found["generated_images"]}
    assert len(urls) == 2
    for url in urls:
        assert png_chunks((await world.get(url)).content)


@pytest.mark.anyio
@pytest.mark.parametrize("service", SERVICES, ids=lambda service: service.path)
async def test_the_files_of_the_services_of_useapi_can_be_opened(
    world: World, service: Service
) -> None:
    ref = a_ref()
    body = {"prompt": "a bell", "replyUrl": world.inbox.address(ref), "replyRef": ref}
    await world.post(f"{service.path}/{service.calls[0]}", json=body)

    end = json.dumps((await world.inbox.wait(ref, 2))[-1])
    urls = {text for text in end.split('"') if text.startswith(f"{world.url}/media/")}

    assert urls
    assert [(await world.get(url)).status_code for url in urls] == [200] * len(urls)


@pytest.mark.anyio
async def test_a_preview_of_useapi_can_be_opened(world: World) -> None:
    given = {"text_prompt": "a bell"}
    preview = await world.get("/v1/runwayml/text_to_image_preview", params=given)

    assert png_chunks((await world.get(preview.json()["url"])).content)
