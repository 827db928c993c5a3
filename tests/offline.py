"""Does what users do, and prints as JSON what each step asked of other computers, or unpickled.

``tests/test_offline.py`` runs this file in a process of its own, as an audit hook cannot be removed again. The hook
hears of every connection, datagram and look-up of a name that Python code makes, and refuses it.
"""

from __future__ import annotations

import importlib
import ipaddress
import json
import pkgutil
import re
import socket
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

ASKED: list[str] = []
"""What the current step asked for; gradio starts threads, so no thread has its own."""

LOOKUPS = ("socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr")

LOADED = (
    r"""<(?:link|script|img|iframe)\b[^>]*?(?:href|src)=["']((?:https?:)?//[^"']+)""",
    r"""(?:@import|url\()\s*["']?((?:https?:)?//[^"')]+)""",
)
"""What a browser loads by itself from another site, in HTML and in CSS."""

STEPS: dict[str, Callable[[Path], None]] = {}


def step(function: Callable[[Path], None]) -> Callable[[Path], None]:
    STEPS[function.__name__] = function
    return function


def is_this_computer(host: object) -> bool:
    name = host.decode() if isinstance(host, bytes) else host
    if name in (None, "", "localhost"):
        return True
    try:
        return ipaddress.ip_address(str(name)).is_loopback or str(name) in ("0.0.0.0", "::")
    except ValueError:
        return False


def hear(event: str, arguments: tuple[Any, ...]) -> None:
    """The audit hook."""
    if event in ("socket.connect", "socket.sendto"):
        host = arguments[1][0] if isinstance(arguments[1], tuple) else None  # a path for sockets of the file system
    elif event in LOOKUPS:
        host = arguments[0]
    elif event == "pickle.find_class":
        ASKED.append(f"{event} {arguments}")
        return
    else:
        return
    if not is_this_computer(host):
        ASKED.append(f"{event} {host}")
        raise ConnectionRefusedError(f"pg2lib asked for {host}")


@step
def notice(folder: Path) -> None:
    """Do what no other step may do, so that a hook that hears nothing is noticed."""
    import pickle

    for ask in (
        lambda: socket.create_connection(("192.0.2.1", 80), timeout=1),
        lambda: socket.getaddrinfo("example.com", 443),
        lambda: socket.socket(type=socket.SOCK_DGRAM).sendto(b"", ("192.0.2.1", 9)),
        lambda: pickle.loads(pickle.dumps(Path)),
    ):
        try:
            ask()
        except ConnectionRefusedError:
            continue


@step
def import_everything(folder: Path) -> None:
    import pg2lib

    for module in pkgutil.walk_packages(pg2lib.__path__, "pg2lib."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)


@step
def load_shipped_weights(folder: Path) -> None:
    import pg2lib
    from pg2lib.detect.backs import back_odds
    from pg2lib.pipeline_folder import shipped_checkpoints

    assert callable(back_odds)
    for name in shipped_checkpoints():
        pg2lib.PG2Pipeline.from_pretrained(name, "cpu")


@step
def generate(folder: Path) -> None:
    from pg2lib import cli
    from pg2lib.data.synthetic import render_person

    photo = folder / "photo.png"
    render_person(40, 0, "studio", shot="full", yaw_deg=0, action="standing").image.save(photo)
    arguments = ["generate", str(photo), "--pose", "waving", "--out", str(folder / "out.png")]
    status = cli.main([*arguments, "--device", "cpu"])
    assert status == 0 or find_spec("mediapipe") is None, "no picture was made"


@step
def evaluate(folder: Path) -> None:
    import pg2lib
    from pg2lib.evaluation import EvaluationOptions
    from tests.conftest import make_market1501

    table = pg2lib.read_market1501(make_market1501(folder / "Market-1501-v15.09.15"), "train")
    pairs = pg2lib.make_pairs(table).sample(4, seed=0)
    pipe = pg2lib.PG2Pipeline.from_pretrained("market1501-compact", "cpu")
    store = pg2lib.ImageStore.open(table)
    pg2lib.evaluate(pipe, store, pairs, "tiny", folder / "pairs.csv", EvaluationOptions(batch_size=4))


@step
def doctor(folder: Path) -> None:
    from pg2lib import cli

    cli.main(["doctor", "--data", str(folder / "Market-1501-v15.09.15")])


@step
def open_the_page(folder: Path) -> None:
    if find_spec("gradio") is None:
        return
    import httpx

    from demo import app

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    page = app.Page(app.load_pipelines(["market1501-compact"]))
    address = app.launch(page, "127.0.0.1", port)
    client = httpx.Client(base_url=address, timeout=60, trust_env=False)
    for path in ("/", "/config", "/theme.css", "/page/main.mjs", "/page/page.css"):
        reply = client.get(path)
        assert reply.status_code == 200, path
        for pattern in LOADED:
            loaded = re.findall(pattern, reply.text)
            ASKED.extend(f"{path} loads {each}" for each in loaded if not each.startswith(f"{address}/"))
    page.close()


def main() -> None:
    folder = Path(sys.argv[1])
    sys.addaudithook(hear)
    found = {}
    for name, function in STEPS.items():
        ASKED.clear()
        function(folder)
        found[name] = list(ASKED)
    print(f"\n{json.dumps(found)}")


if __name__ == "__main__":
    main()
