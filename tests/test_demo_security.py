"""What the two pages must not do for whoever can reach them, asked over real HTTP."""

from __future__ import annotations

import base64
import contextlib
import functools
import hashlib
import io
import itertools
import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

gradio = pytest.importorskip("gradio", reason="the demo needs gradio: pip install 'pg2lib[demo]'")
httpx = pytest.importorskip("httpx", reason="it comes with gradio")

from demo import app, study, uploads  # noqa: E402
from demo.guard import served_addresses  # noqa: E402
from demo.limits import MAX_JSON  # noqa: E402
from demo.service import Service  # noqa: E402
from pg2lib import PG2Config, PG2Pipeline, build_models, pose_presets  # noqa: E402
from pg2lib.detect import Detection  # noqa: E402
from pg2lib.framing import Framing  # noqa: E402
from pg2lib.user_study import Protocol, create_study  # noqa: E402

ROOT = Path(__file__).resolve().parents[1]
PATIENCE_S = 60  # of the client: what takes longer hangs
CLIENT = httpx.Client(timeout=PATIENCE_S, trust_env=False, verify=False)
FRAMING = Framing(0.5, {"nose": 0.11, "neck": 0.21, "hips": 0.5, "knees": 0.7, "ankles": 0.88})
META = {"_type": "gradio.FileData"}

Answer = tuple[bool, str]


class Watcher:
    """A detector that finds somebody in every picture, and keeps what it was shown."""

    def __init__(self) -> None:
        self.seen: list[np.ndarray[Any, Any]] = []

    def detect(self, image: Image.Image) -> Detection:
        self.seen.append(np.asarray(image))
        pose = pose_presets()["standing, front"].resize((image.height, image.width))
        return Detection(pose, attempt=0, confidence=0.9)


def post(address: str, content: object) -> Any:
    """Sends JSON, half characters included, which httpx itself refuses to write."""
    return CLIENT.post(address, content=json.dumps(content), headers={"Content-Type": "application/json"})


@dataclass
class Demo:
    """The page as it is served, with what lies around it."""

    address: str
    folder: Path
    watcher: Watcher
    events: dict[str, tuple[int, list[str]]]  # number and arguments of each endpoint
    page: Any
    fetched: list[object] = field(default_factory=list)

    @property
    def cache(self) -> Path:
        """Where the uploads of clients without cookies are."""
        return Path(self.page.store.folder / uploads.ANYONE)

    @property
    def secret(self) -> Path:
        """A picture that nobody uploaded."""
        return self.folder / "secret.png"

    def post(self, path: str, content: object) -> Any:
        return post(f"{self.address}{path}", content)

    def get(self, path: str) -> Any:
        return CLIENT.get(f"{self.address}{path}")

    def upload(self, path: Path) -> str:
        reply = CLIENT.post(f"{self.address}/gradio_api/upload", files={"files": (path.name, path.read_bytes())})
        (stored,) = reply.json()
        return str(stored)

    def ask(self, way: str, endpoint: str, values: dict[str, object]) -> Answer:
        """Call an endpoint in one of `WAYS`."""
        number, names = self.events[endpoint]
        data = [values[name] for name in names]
        if way == "call":
            return self._stream(endpoint, self.post(f"/gradio_api/call/{endpoint}", {"data": data}))
        if way == "call/v2":
            return self._stream(endpoint, self.post(f"/gradio_api/call/v2/{endpoint}", values))
        if way == "queue/join":
            return self._join_queue({"data": data, "fn_index": number, "session_hash": uuid.uuid4().hex})
        path, more = ("run/" + endpoint, {}) if way == "run" else ("api/predict", {"fn_index": number})
        reply = self.post(f"/gradio_api/{path}", {"data": data, **more})
        return reply.status_code == 200, reply.text

    def _join_queue(self, values: dict[str, object]) -> Answer:
        reply = self.post("/gradio_api/queue/join", values)
        if reply.status_code != 200:
            return False, reply.text
        text = self.get(f"/gradio_api/queue/data?session_hash={values['session_hash']}").text
        return '"success":true' in text.rpartition("process_completed")[2], text

    def _stream(self, endpoint: str, reply: Any) -> Answer:
        if reply.status_code != 200:
            return False, reply.text
        text = self.get(f"/gradio_api/call/{endpoint}/{reply.json()['event_id']}").text
        return "event: complete" in text, text


WAYS = ("call", "call/v2", "queue/join", "run", "api")


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    folder = tmp_path_factory.mktemp("demo")
    watcher = Watcher()
    config = PG2Config.preset("fast")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRADIO_TEMP_DIR", str(folder / "cache"))
        page = app.Page({"tiny": PG2Pipeline(*build_models(config)[:2], config, FRAMING, detector=watcher)})
        lay_out(folder, page.store.folder / uploads.ANYONE)
        events = {
            str(event.api_name): (number, [str(block.label) for block in event.inputs])
            for number, event in page.fns.items()
        }
        demo = Demo(app.launch(page, "127.0.0.1", free_port()), folder, watcher, events, page)

        async def fetch(*arguments: object, **_: object) -> object:
            demo.fetched.append(arguments)
            raise ConnectionError("nothing is fetched in this test")

        for name in ("get", "async_validate_url"):  # by which gradio asks other servers
            patch.setattr(f"safehttpx.{name}", fetch)
        yield demo
        page.close()


def lay_out(folder: Path, cache: Path) -> None:
    """The secret, the folder of uploads, and ways from one to the other."""
    cache.mkdir()
    secret = folder / "secret.png"
    Image.fromarray(np.random.default_rng(1).integers(0, 256, (64, 32, 3), dtype=np.uint8)).save(secret)
    evil = cache.with_name(f"{cache.name}-evil")
    evil.mkdir()
    (evil / "secret.png").write_bytes(secret.read_bytes())
    (cache / "link.png").symlink_to(secret)
    (cache / "up").symlink_to(folder)
    (cache / "circle.png").symlink_to(cache / "circle.png")
    (cache / "zero.png").symlink_to("/dev/zero")
    for place in (folder, cache):
        os.mkfifo(place / "pipe.png")
    large = cache / "large.png"
    large.write_bytes(secret.read_bytes())
    os.truncate(large, uploads.MAX_BYTES + 1)  # which a decoder of PNG does not mind


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@pytest.fixture(scope="module")
def photo(demo: Demo) -> str:
    """A photo of one colour, uploaded as a page does it."""
    path = demo.folder / "photo.png"
    Image.new("RGB", (32, 64), (10, 200, 30)).save(path)
    return demo.upload(path)


def file(path: object, **more: object) -> dict[str, object]:
    """As gradio's own page names a file."""
    return {"path": path, "meta": META, **more}


def deep(depth: int, value: object) -> object:
    for _ in range(depth):
        value = [value]
    return value


SHAPES: dict[str, Callable[[Demo], object]] = {
    "a path alone": lambda d: {"path": str(d.secret)},
    "a path declared an upload": lambda d: file(str(d.secret)),
    "declared a stream": lambda d: file(str(d.secret), is_stream=True),
    "declared something else": lambda d: {"path": str(d.secret), "meta": {"_type": "other"}},
    "a declaration that is a string": lambda d: {"path": str(d.secret), "meta": "gradio.FileData"},
    "a declaration that is null": lambda d: {"path": str(d.secret), "meta": None},
    "with the address of an upload": lambda d: file(str(d.secret), url=f"{d.address}/gradio_api/file={d.cache}/a.png"),
    "a name that leads away": lambda d: {"path": str(d.secret), "orig_name": "../../photo.svg"},
    "with a size": lambda d: {"path": str(d.secret), "size": 1, "mime_type": "image/png"},
    "a string": lambda d: str(d.secret),
    "an address as a string": lambda d: d.secret.as_uri(),
    "a picture as a string": lambda d: "data:image/png;base64," + base64.b64encode(d.secret.read_bytes()).decode(),
    "a picture as an address": lambda d: file("", url="data:image/png;base64,iVBORw0KGgo="),
    "a list of a path": lambda d: [str(d.secret)],
    "a list of a file": lambda d: [file(str(d.secret))],
    "a file in a file": lambda d: {"path": file(str(d.secret))},
    "a file in a value": lambda d: {"value": file(str(d.secret)), "__type__": "update"},
    "a number": lambda d: 0,
    "a truth": lambda d: False,
    "nothing in it": lambda d: {},
    "a path that is null": lambda d: file(None),
    "a path that is a number": lambda d: {"path": 3},
    "a path that is a list": lambda d: {"path": [str(d.secret)]},
    "an empty path": lambda d: file(""),
    "lists in lists": lambda d: deep(300, file(str(d.secret))),
    "up and out of the cache": lambda d: file(f"{d.cache}/../../../secret.png"),
    "into the cache and out again": lambda d: file(f"{d.cache}/.//..//..//../secret.png"),
    "encoded dots": lambda d: file(f"{d.cache}/%2e%2e/%2e%2e/%2e%2e/secret.png"),
    "wide dots": lambda d: file(f"{d.cache}/．．/．．/．．/secret.png"),
    "half a character": lambda d: file(f"{d.cache}/\ud800.png"),
    "a zero byte": lambda d: file(f"{d.secret}\0.png"),
    "a zero byte in the cache": lambda d: file(f"{d.cache}/photo.png\0"),
    "a very long name": lambda d: file(f"{d.cache}/{'a' * 5000}.png"),
    "very many folders": lambda d: file(f"{d.cache}{'/a' * 5000}/../../../secret.png"),
    "a folder that begins like the cache": lambda d: file(f"{d.cache}-evil/secret.png"),
    "a relative path": lambda d: file(os.path.relpath(d.secret)),
    "a home folder": lambda d: file("~/secret.png"),
    "two slashes": lambda d: file(f"/{d.secret}"),
    "a slash at the end": lambda d: file(f"{d.secret}/"),
    "a link out of the cache": lambda d: file(str(d.cache / "link.png")),
    "a folder linked out of the cache": lambda d: file(str(d.cache / "up" / "secret.png")),
    "a circle of links": lambda d: file(str(d.cache / "circle.png")),
    "a link to a device": lambda d: file(str(d.cache / "zero.png")),
    "the cache itself": lambda d: file(str(d.cache)),
    "a file that is not there": lambda d: file(str(d.cache / "gone.png")),
    "a file that is too large": lambda d: file(str(d.cache / "large.png")),
    "a pipe": lambda d: {"path": str(d.folder / "pipe.png")},
    "a pipe in the cache": lambda d: file(str(d.cache / "pipe.png")),
    "an endless device": lambda d: {"path": "/dev/zero"},
    "a terminal": lambda d: {"path": "/dev/tty"},
    "the standard input": lambda d: {"path": "/dev/stdin"},
    "the environment": lambda d: {"path": "/proc/self/environ"},
    "the root of the process": lambda d: {"path": f"/proc/self/root{d.secret}"},
    "the sources of the page": lambda d: {"path": str(ROOT / "demo" / "app.py")},
    "a file by its address": lambda d: file(d.secret.as_uri()),
    "the file endpoint": lambda d: file(f"/gradio_api/file={d.secret}"),
    "a web address for a path": lambda d: file("http://example.com/photo.png"),
    "a secure address for a path": lambda d: file("https://example.com/photo.png"),
    "an address of this computer": lambda d: file(f"{d.address}/gradio_api/file={d.secret}"),
    "a web address alone": lambda d: {"url": "http://example.com/photo.png", "meta": META},
    "a path of Windows": lambda d: file("C:\\Windows\\win.ini"),
    "a share of Windows": lambda d: file("\\\\example.com\\share\\photo.png"),
}


SHARED: dict[str, object] = {
    "person": 0, "box": None, "turn": 0, "photo_pose": None, "strength": 1.0, "background": "photo", "model": "",
}  # fmt: skip
OWN: dict[str, dict[str, object]] = {
    "find_people": {"box": None, "turn": 0},
    "read_pose": {"text": ""},
    "repose": {"pose": "waving", **SHARED},
    "replay": {},
    "repose_many": {"poses": ["waving"], **SHARED},
    "contact_sheet": {"names": ["waving"], **SHARED},
    "animate": {"first": "waving", "last": "sitting", "frames": 2, "fps": 10, "format": "gif", **SHARED},
    "animate_video": {"fps": 10, "format": "gif", **SHARED},
}
"""The arguments of an ordinary request to each endpoint, but for files."""

FILES = {endpoint: ["photo"] for endpoint in OWN} | {
    "read_pose": ["file"], "animate_video": ["photo", "video"], "replay": ["photo", "recipe"],
}  # fmt: skip

FILE_PLACES = [(endpoint, name) for endpoint, names in FILES.items() for name in names]
VALUE_PLACES = [(endpoint, name) for endpoint, values in OWN.items() for name in values]


def arguments(endpoint: str, photo: str, place: str = "", value: object = None) -> dict[str, object]:
    """The arguments of an ordinary request, but for one."""
    values = {**dict.fromkeys(FILES[endpoint], file(photo)), **OWN[endpoint]}
    return {**values, place: value} if place else values


def check_ordinary_request(demo: Demo, photo: str) -> None:
    answered, text = demo.ask("call", "repose", arguments("repose", photo))
    assert answered and "stages" in text


def picture_of(demo: Demo, text: str) -> np.ndarray[Any, Any]:
    """The pixels of what was used of the photo, as an answer of /repose shows them."""
    _, _, data = text.partition("event: complete\ndata: ")
    used = json.loads(data.split("\n")[0])[1]["stages"]["used"]
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(used.partition(",")[2]))).convert("RGB"))


# -- Photos ------------------------------------------------------------------------------------------------------------


def test_the_tests_know_every_endpoint(demo: Demo) -> None:
    known = {name: set(names) for name, (_, names) in demo.events.items() if names}
    assert known == {endpoint: {*FILES[endpoint], *OWN[endpoint]} for endpoint in OWN}


def test_an_uploaded_photo_is_taken_on_every_way_that_is_open(demo: Demo, photo: str) -> None:
    taken = {way for way in WAYS if demo.ask(way, "repose", arguments("repose", photo))[0]}
    assert taken >= {"call", "call/v2", "queue/join"}


def test_the_secret_would_be_noticed_if_an_answer_showed_it(demo: Demo, photo: str) -> None:
    """The photo comes back in the answer; so the tests below would see a picture that is not theirs."""
    answered, text = demo.ask("call", "repose", arguments("repose", demo.upload(demo.secret)))
    secret = np.asarray(Image.open(demo.secret))
    assert answered and picture_of(demo, text).std() > 30
    assert any(np.array_equal(picture, secret) for picture in demo.watcher.seen)


@pytest.mark.parametrize("name", SHAPES)
def test_no_file_is_taken_that_was_not_uploaded(demo: Demo, photo: str, name: str) -> None:
    value = SHAPES[name](demo)
    demo.watcher.seen.clear()
    stored = set(demo.cache.rglob("*"))
    for (endpoint, place), way in [
        *itertools.product([("repose", "photo")], WAYS), *itertools.product(FILE_PLACES, ["call", "queue/join"]),
    ]:  # fmt: skip
        answered, text = demo.ask(way, endpoint, arguments(endpoint, photo, place, value))
        assert not answered, (endpoint, place, way, text)
        assert "data:image" not in text and "gradio_api/file" not in text, (endpoint, place, way)
    assert demo.watcher.seen == [], "no argument is opened before all of them are checked"
    assert set(demo.cache.rglob("*")) == stored, "and no picture is made"
    assert demo.fetched == []
    check_ordinary_request(demo, photo)
    assert all(np.all(picture == (10, 200, 30)) for picture in demo.watcher.seen if picture.shape[:2] == (64, 32))


@pytest.mark.parametrize(
    "name",
    [
        "a path declared an upload",
        "a web address for a path",
        "a list of a file",
        "a file in a value",
        "lists in lists",
    ],
)
def test_no_file_is_taken_where_there_is_a_value(demo: Demo, photo: str, name: str) -> None:
    """Gradio fetches and copies what any argument names, before the function sees it."""
    value = SHAPES[name](demo)
    nested = {"canvas": [64, 32], "keypoints": [value] * 18}
    for endpoint, place in VALUE_PLACES:
        assert not demo.ask("queue/join", endpoint, arguments(endpoint, photo, place, value))[0], (endpoint, place)
    for way in WAYS:
        for place in ("pose", "photo_pose"):
            assert not demo.ask(way, "repose", arguments("repose", photo, place, nested))[0], (place, way)
    assert demo.fetched == []
    check_ordinary_request(demo, photo)


STRANGE_VALUES: list[object] = [
    float("nan"), 10**400, -1, "\ud800", "../../secret.png", "a\0b", "9" * 5000, {}, [[[]]], "file:" + "///etc/passwd",
    {"canvas": [10**9, 10**9], "keypoints": [[0, 0]] * 18}, {"canvas": [64, 32], "keypoints": [["a", None]] * 18},
    {"canvas": [64, 32], "keypoints": [[0, 0]] * 2_000}, {"canvas": "ab", "keypoints": 3},
]  # fmt: skip


def test_strange_values_are_refused_without_a_fault(demo: Demo, photo: str, caplog: pytest.LogCaptureFixture) -> None:
    """Whatever comes where no file belongs, it is a refusal with a sentence, or an ordinary answer."""
    for (endpoint, place), value in itertools.product(VALUE_PLACES, STRANGE_VALUES):
        if endpoint != "repose" and place in SHARED:
            continue
        stored = set(demo.folder.rglob("*"))
        answered, text = demo.ask("call", endpoint, arguments(endpoint, photo, place, value))
        assert answered or set(demo.folder.rglob("*")) == stored, "a refusal leaves no file"
        assert "/etc/passwd" not in text.replace("file:" + "///etc/passwd", "") and str(
            demo.folder
        ) not in text.replace(str(demo.cache), "")
    assert "a request failed" not in caplog.text
    check_ordinary_request(demo, photo)


def test_a_refusal_says_what_to_do_and_nothing_of_the_computer(demo: Demo, photo: str) -> None:
    for endpoint, place in FILE_PLACES:
        texts = {
            demo.ask("call", endpoint, arguments(endpoint, photo, place, file(str(path))))[1]
            for path in (demo.secret, demo.folder / "no such file.png", demo.cache / "gone.png", "/dev/zero")
        }
        assert len(texts) == 1, "whether a file exists is nobody's business"
        (text,) = texts
        assert f"Choose the {place} again" in text and "uploaded to this page" in text


def test_nothing_of_a_session_is_kept(demo: Demo, photo: str) -> None:
    """Gradio would keep the arguments and results of every session, which add up to all memory there is."""
    session = uuid.uuid4().hex
    number, names = demo.events["repose"]
    values = arguments("repose", photo)
    demo._join_queue({"data": [values[name] for name in names], "fn_index": number, "session_hash": session})
    assert "stages" not in json.dumps(demo.get("/config").json()["components"], default=str)


@pytest.mark.parametrize(
    "name",
    [
        "../../../out.png",
        "/etc/out.png",
        "..",
        ".",
        "a/../../out.png",
        "..\\out.png",
        "a" * 4000 + ".png",
        "\ud7ff.png",
    ],
)
def test_an_upload_lands_in_the_cache_whatever_its_name(demo: Demo, name: str) -> None:
    around = set(demo.folder.iterdir())
    reply = CLIENT.post(f"{demo.address}/gradio_api/upload", files={"files": (name, b"some bytes")})
    if reply.status_code == 200:
        assert all(Path(path).resolve().is_relative_to(demo.cache.resolve()) for path in reply.json())
    assert set(demo.folder.iterdir()) == around and not Path("/etc/out.png").exists()


def test_an_upload_has_a_largest_size(demo: Demo) -> None:
    content = bytes(uploads.MAX_BYTES + 1)
    reply = CLIENT.post(f"{demo.address}/gradio_api/upload", files={"files": ("a.png", content)})
    assert reply.status_code == 413


# -- What can be fetched -----------------------------------------------------------------------------------------------


@contextlib.contextmanager
def browser(address: str) -> Iterator[Any]:
    """A browser that has visited the page."""
    with httpx.Client(base_url=address, timeout=PATIENCE_S, trust_env=False) as visitor:
        assert visitor.get("/").status_code == 200
        yield visitor


def uploaded(visitor: Any, content: bytes) -> str:
    return str(visitor.post("/gradio_api/upload", files={"files": ("photo.png", content)}).json()[0])


def test_a_photo_is_its_sessions_own(demo: Demo) -> None:
    """Not even somebody who has the same photo, or was told where it is stored, reaches it."""
    content = demo.secret.read_bytes()
    with browser(demo.address) as ann, browser(demo.address) as bob, httpx.Client(trust_env=False) as nobody:
        path, other = (uploaded(visitor, content) for visitor in (ann, bob))
        assert path != other and hashlib.sha256(content).hexdigest() not in path
        assert ann.get(f"/gradio_api/file={path}").content == content
        for visitor in (bob, nobody):
            assert visitor.get(f"{demo.address}/gradio_api/file={path}").status_code == 403

        def ask(visitor: Any, endpoint: str, **files: str) -> str:
            values = {name: file(path) for name, path in files.items()}
            started = visitor.post(f"/gradio_api/call/v2/{endpoint}", json={**OWN[endpoint], **values})
            return str(visitor.get(f"/gradio_api/call/{endpoint}/{started.json()['event_id']}").text)

        assert "Choose the photo again" in ask(bob, "repose", photo=path)
        answer = ask(ann, "repose", photo=path)
        result = json.loads(answer.partition("event: complete\ndata: ")[2].split("\n")[0])[0]["url"]
        assert ann.get(result).content.startswith(b"\x89PNG") and bob.get(result).status_code == 403


def test_a_photo_is_not_named_by_its_content(demo: Demo, photo: str) -> None:
    digest = hashlib.sha256((demo.folder / "photo.png").read_bytes()).hexdigest()
    for folder in (demo.folder / "cache", demo.page.store.folder, demo.cache):
        assert demo.get(f"/gradio_api/file={folder}/{digest}/photo.png").status_code == 403
    assert demo.get(f"/gradio_api/file={photo}").status_code == 200


def test_files_are_deleted_after_an_hour(demo: Demo, photo: str) -> None:
    old = demo.upload(demo.secret)
    os.utime(old, (0, 0))
    demo.page.store.sweep()
    assert not demo.ask("call", "repose", arguments("repose", old))[0]
    assert demo.get(f"/gradio_api/file={old}").status_code == 403
    check_ordinary_request(demo, photo)


def test_a_page_with_a_password_takes_files_from_those_who_know_it(tmp_path: Path) -> None:
    config = PG2Config.preset("fast")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
        page = app.Page({"tiny": PG2Pipeline(*build_models(config)[:2], config, FRAMING, detector=Watcher())})
        address = app.launch(page, "127.0.0.1", free_port(), "sesame")
        try:
            with browser(address) as visitor:
                send = functools.partial(visitor.post, "/gradio_api/upload", files={"files": ("a.png", b"bytes")})
                wrong = {"username": app.USER, "password": "wrong"}
                assert send().status_code == 401 and visitor.post("/login", data=wrong).status_code == 400
                assert send().status_code == visitor.get("/config").status_code == 401
                assert visitor.post("/login", data={**wrong, "password": "sesame"}).status_code == 200
                assert send().status_code == visitor.get("/config").status_code == 200
        finally:
            page.close()


def test_every_answer_has_the_headers(address: str) -> None:
    for reply in (CLIENT.get(address), CLIENT.get(f"{address}/nothing"), CLIENT.get(address, headers={"Host": "a"})):
        assert reply.headers["x-content-type-options"] == "nosniff"
        assert reply.headers["referrer-policy"] == "no-referrer"
        assert "frame-ancestors 'none'" in reply.headers["content-security-policy"]
        assert "default-src 'self'" in reply.headers["content-security-policy"]


# -- Work --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content",
    [
        b"", b"no JSON", b"3", b"[]", b"null", b"\xff\xfe", b'{"photo": ', b'{"photo": NaN}', b'{"session_hash": 3}',
        b'{"data": 3}', b'{"data": []}', b'{"data": [[], [], [], [], [], [], [], [], [], [], [], [], []]}',
        b"[" * 200_000, b'{"photo": ' + b"[" * 50_000 + b"]" * 50_000 + b"}", b'{"photo": ' + b'{"a":' * 40_000,
        b'{"pose": ' + b"9" * 100_000 + b"}", b'{"unknown": 1}', b'{"photo": null, "photo": []}',
        b'{"fn_index": NaN, "session_hash": [1e999], "data": null}', b'{"fn_index": "\\ud800", "event_id": -Infinity}',
    ],
)  # fmt: skip
def test_junk_is_refused_with_a_sentence_and_without_a_fault(
    demo: Demo, content: bytes, capfd: pytest.CaptureFixture[str]
) -> None:
    stored = set(demo.folder.rglob("*"))
    for path in (
        "call/repose",
        "call/v2/repose",
        "call/v2/presets",
        "call/nothing",
        "call/v2/nothing",
        "queue/join",
        "run/repose",
        "cancel",
    ):
        reply = CLIENT.post(
            f"{demo.address}/gradio_api/{path}", content=content, headers={"Content-Type": "application/json"}
        )
        assert reply.status_code < 500, (path, reply.text)
        if reply.status_code == 200 and "event_id" in reply.text:
            told = demo.get(f"/gradio_api/{path}/{reply.json()['event_id']}")
            assert path.endswith("presets") or "event: complete" not in told.text, path
        elif reply.status_code != 200:
            assert reply.json()["detail"], path
    assert "Traceback" not in capfd.readouterr().err and set(demo.folder.rglob("*")) == stored


def test_a_request_that_is_no_file_has_a_largest_size(demo: Demo) -> None:
    reply = demo.post("/gradio_api/call/v2/read_pose", {"text": "a" * MAX_JSON})
    assert reply.status_code == 413 and "256 KB" in reply.json()["detail"]


def test_a_call_that_is_not_there_is_a_refusal(demo: Demo, capfd: pytest.CaptureFixture[str]) -> None:
    for path in ("call/repose/nothing", "call/v2/repose/nothing", "queue/data?session_hash=nothing", "queue/data"):
        reply = demo.get(f"/gradio_api/{path}")
        assert reply.status_code == 404 and "no such call" in reply.json()["detail"]
    assert "Traceback" not in capfd.readouterr().err


def test_work_stops_when_its_client_goes_away(demo: Demo, photo: str, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[object] = []
    make = Service._make
    monkeypatch.setattr(Service, "_make", lambda *arguments: made.append(arguments) or make(*arguments))
    values = arguments("animate", photo) | {"frames": 120}
    started = demo.post("/gradio_api/call/v2/animate", values).json()["event_id"]
    with CLIENT.stream("GET", f"{demo.address}/gradio_api/call/v2/animate/{started}") as stream:
        next(stream.iter_text())
    deadline = time.monotonic() + PATIENCE_S
    while started in demo.page.turns.event_ids_to_events and time.monotonic() < deadline:
        time.sleep(0.02)
    assert 0 < len(made) < 120 and started not in demo.page.turns.event_ids_to_events


PATHS: dict[str, Callable[[Demo], str]] = {
    "the secret": lambda d: f"file={d.secret}",
    "the secret, as of old": lambda d: f"file/{d.secret}",
    "the passwords": lambda d: "file=/etc/passwd",
    "the sources": lambda d: f"file={ROOT / 'demo' / 'app.py'}",
    "the sources, from here": lambda d: "file=demo/app.py",
    "the project": lambda d: f"file={ROOT / 'pyproject.toml'}",
    "up and out of the cache": lambda d: f"file={d.cache}/%2e%2e/%2e%2e/%2e%2e/secret.png",
    "up and out, encoded twice": lambda d: f"file={d.cache}/%252e%252e/%252e%252e/%252e%252e/secret.png",
    "a folder that begins like the cache": lambda d: f"file={d.cache}-evil/secret.png",
    "a link out of the cache": lambda d: f"file={d.cache / 'link.png'}",
    "a folder linked out of the cache": lambda d: f"file={d.cache / 'up' / 'secret.png'}",
    "an endless device": lambda d: "file=/dev/zero",
    "a link to a device": lambda d: f"file={d.cache / 'zero.png'}",
    "a zero byte": lambda d: f"file={d.secret}%00",
    "a web address": lambda d: "file=http://example.com/",
    "a web address, as of old": lambda d: "file/https://example.com/",
    "a web address, encoded": lambda d: "file=%68ttps://example.com/",
    "a file by its address": lambda d: f"file={d.secret.as_uri()}",
    "by way of a proxy": lambda d: "proxy=https://example.com/",
    "by way of a space": lambda d: "proxy=https://example.hf.space/",
}


@pytest.mark.parametrize("name", PATHS)
def test_nothing_can_be_fetched_but_uploads_and_results(demo: Demo, name: str) -> None:
    reply = demo.get(f"/gradio_api/{PATHS[name](demo)}")
    assert reply.status_code in (403, 404)
    assert len(reply.content) < 500 and demo.secret.read_bytes() not in reply.content
    assert demo.fetched == []


def test_what_the_page_does_not_use_is_closed(demo: Demo) -> None:
    reply = CLIENT.post(f"{demo.address}/gradio_api/process_recording", files={"video": ("a.mp4", b"#EXTM3U")})
    assert reply.status_code == 404
    assert {demo.get(path).status_code for path in ("/monitoring", "/monitoring/summary", "/monitoring/a")} == {403}


# -- Who may ask -------------------------------------------------------------------------------------------------------


@dataclass
class RatersPage:
    address: str
    rater: str

    def post(self, path: str, content: object) -> Any:
        return post(f"{self.address}{path}", content)


@pytest.fixture(scope="module")
def raters_page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RatersPage]:
    """``python demo/app.py --study``, in a thread."""
    folder = tmp_path_factory.mktemp("raters")
    images = np.random.default_rng(0).integers(0, 256, (8, 12, 6, 3), dtype=np.uint8)
    create_study(folder / "study", images[:4], {"one": images[4:]}, "A title", "noise", Protocol(4, 4, 2))
    servers: list[Any] = []

    class Server(study.uvicorn.Server):  # type: ignore[misc, name-defined]
        def __init__(self, config: Any) -> None:
            super().__init__(config)
            servers.append(self)

    port = free_port()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(study.uvicorn, "Server", Server)
        thread = threading.Thread(target=study.serve_study, args=(folder / "study", "127.0.0.1", port))
        thread.start()
        address = f"http://127.0.0.1:{port}"
        wait_for(address, thread)
        yield RatersPage(address, CLIENT.post(f"{address}/session", json={}).json()["rater"])
        servers[0].should_exit = True
        thread.join()


def wait_for(address: str, thread: threading.Thread) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline and thread.is_alive():
        with contextlib.suppress(httpx.TransportError):
            assert CLIENT.get(address).status_code == 200
            return
        time.sleep(0.05)
    raise AssertionError("the page is not served")


@pytest.fixture(params=["demo", "study"])
def address(request: pytest.FixtureRequest) -> str:
    fixture = "demo" if request.param == "demo" else "raters_page"
    return str(request.getfixturevalue(fixture).address)


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost", "LOCALHOST", "[::1]"])
def test_a_page_answers_to_the_names_of_this_computer(address: str, name: str) -> None:
    port = address.rpartition(":")[2]
    host = f"{name}:{port}"
    for headers in ({"Host": host}, {"Host": host, "Origin": f"http://{host}"}):
        assert CLIENT.get(f"{address}/", headers=headers).status_code == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example", "evil.example:{port}", "127.0.0.1", "127.0.0.1:1", "localhost.:{port}", "0.0.0.0:{port}",
        "127.0.0.1.evil.example:{port}", "localhost:{port}@evil.example", "127.0.0.1:{port}, evil.example",
        "[::]:{port}", "",
    ],
)  # fmt: skip
def test_a_page_does_not_answer_to_another_name(address: str, host: str) -> None:
    host = host.format(port=address.rpartition(":")[2])
    replies = [
        CLIENT.get(f"{address}/", headers={"Host": host}),
        CLIENT.get(f"{address}/config", headers={"Host": host}),
        CLIENT.post(f"{address}/session", json={}, headers={"Host": host}),
        CLIENT.post(f"{address}/gradio_api/call/repose", json={"data": []}, headers={"Host": host}),
    ]
    assert {reply.status_code for reply in replies} <= {400, 403}
    assert all("<html" not in reply.text and "rater" not in reply.text for reply in replies)
    if host:
        assert "http://localhost:" in replies[0].json()["detail"], "it says where the page is"


@pytest.mark.parametrize(
    "headers", ["", "Host: {own}\r\nHost: evil.example\r\n", "Host: evil.example\r\nHost: {own}\r\n"]
)
def test_a_request_names_one_host(address: str, headers: str) -> None:
    own = address.removeprefix("http://")
    assert raw(address, f"GET / HTTP/1.1\r\n{headers.format(own=own)}Connection: close\r\n\r\n") in (400, 403)


@pytest.mark.parametrize(
    "origin",
    [
        "http://evil.example",
        "http://127.0.0.1",
        "http://localhost:1",
        "https://127.0.0.1:{port}",
        "null",
        "chrome-extension://abc",
        "",
    ],
)
def test_a_page_takes_nothing_from_other_sites(address: str, origin: str) -> None:
    headers = {"Origin": origin.format(port=address.rpartition(":")[2])}
    for reply in (
        CLIENT.get(f"{address}/", headers=headers),
        CLIENT.get(f"{address}/gradio_api/queue/data?session_hash=a", headers=headers),
        CLIENT.get(f"{address}/gradio_api/heartbeat/a", headers=headers),
        CLIENT.post(f"{address}/session", json={}, headers=headers),
        CLIENT.post(f"{address}/gradio_api/upload", files={"files": b"a"}, headers=headers),
    ):
        assert reply.status_code == 403 and "other web sites" in reply.json()["detail"]


def test_nor_by_a_websocket(address: str) -> None:
    own = address.removeprefix("http://")
    upgrade = (
        "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    assert raw(address, f"GET / HTTP/1.1\r\nHost: {own}\r\nOrigin: http://evil.example\r\n{upgrade}") == 403
    assert raw(address, f"GET / HTTP/1.1\r\nHost: evil.example\r\n{upgrade}") == 403


def raw(address: str, request: str) -> int:
    """The status of the answer to a request as it is written."""
    host, port = address.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=PATIENCE_S) as connection:
        connection.sendall(request.encode("ascii"))
        return int(connection.recv(4096).split()[1])


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "127.1", "localhost", "::1", "[::1]"])
def test_this_computer_is_known_by_any_of_its_addresses(host: str) -> None:
    addresses = served_addresses(host, 8000)
    assert addresses is not None and {"127.0.0.1:8000", "localhost:8000", "[::1]:8000"} <= set(addresses)
    assert "127.0.0.1" in (served_addresses(host, 80) or ()), "browsers leave out port 80"


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1"])
def test_a_page_for_the_network_answers_to_any_name(host: str) -> None:
    assert served_addresses(host, 8000) is None


# -- The raters' page --------------------------------------------------------------------------------------------------


ANSWER = {"number": 1, "position": 0, "says_real": True, "exposure_ms": 1000.0, "response_ms": 500.0, "showings": 1}
STRANGE: list[object] = [
    float("nan"), float("inf"), -1, 10**30, "\ud800", "../../study.json", "a\0b", "9" * 5000, [], {}, [[[]]],
    {"path": "/etc/passwd"}, None,
]  # fmt: skip


@pytest.mark.parametrize("field_name", ["rater", *ANSWER])
def test_raters_can_send_nothing_that_the_server_fails_on(raters_page: RatersPage, field_name: str) -> None:
    for value in STRANGE:
        if field_name.endswith("_ms") and value == 10**30:
            continue  # long, but a time
        reply = raters_page.post("/answer", {"rater": raters_page.rater, **ANSWER, field_name: value})
        assert reply.status_code in (404, 409, 422), value
        detail = reply.json()["detail"]
        assert isinstance(detail, str) and "/etc" not in detail, "the page shows it"
        if reply.status_code == 422:
            assert f"body.{field_name}: " in detail


@pytest.mark.parametrize("value", STRANGE)
def test_nobody_begins_under_a_strange_name(raters_page: RatersPage, value: object) -> None:
    reply = raters_page.post("/session", {"rater": value, "another": value})
    assert reply.status_code in (404, 422) and isinstance(reply.json()["detail"], str)


@pytest.mark.parametrize(
    "path",
    [
        "image/{rater}/1/..%2f..%2fstudy.json", "image/{rater}/1/-1", "image/{rater}/1/8", "image/{rater}/0/0",
        "image/..%2f../1/0", "image/{rater}/1/0%00", "image/{rater}/1/" + "9" * 5000,
        "image/{rater}/" + "9" * 300 + "/0", "image/%00/1/0", "image/%ff/1/0",
        "image/{rater}/1/0/../../../../study.json", "study.js/..%2fstudy.py",
        "..%2fapp.py", "study.json",
    ],
)  # fmt: skip
def test_raters_can_fetch_their_pictures_and_nothing_else(raters_page: RatersPage, path: str) -> None:
    reply = CLIENT.get(f"{raters_page.address}/{path.format(rater=raters_page.rater)}")
    assert reply.status_code in (404, 409, 422) and reply.json().keys() == {"detail"}
    ordinary = CLIENT.get(f"{raters_page.address}/image/{raters_page.rater}/1/0")
    assert ordinary.status_code == 200 and ordinary.content.startswith(b"\x89PNG")


def test_a_study_whose_images_lie_elsewhere_is_not_served(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    images = np.random.default_rng(0).integers(0, 256, (8, 12, 6, 3), dtype=np.uint8)
    made = create_study(tmp_path / "study", images[:4], {"one": images[4:]}, "A title", "noise", Protocol(4, 4, 2))
    description = made.folder / "study.json"
    description.write_text(description.read_text().replace(made.real[0], "../../secret.png"))
    assert app.main(["--study", str(made.folder)]) == 2
    error = capsys.readouterr().err
    assert str(description) in error and "real" in error and "'../../secret.png'" in error
