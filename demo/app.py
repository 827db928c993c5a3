"""The demo: a page that shows the person of a photo in another pose.

    python demo/app.py --port 8000 --weights runs/mine/pipeline
    python demo/app.py --study runs/study      # the user study of Table 2 instead, see demo/study.py

The page is one element, filled by the script in demo/page, which calls the endpoints of `demo.endpoints`. The server
connects to no other, unless ``--weights`` names a Hugging Face hub id to download. It opens only files that were
uploaded to it (`demo.uploads`), and refuses requests from other sites (`demo.guard`).
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import functools
import mimetypes
import os
import re
import signal
import socket
import sys
import tempfile
import threading
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path

# gradio reads this when it is imported: no telemetry, no search for newer versions.
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
if not __package__:
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # a script finds only modules in its own folder

import anyio
import gradio as gr
import torch
from starlette.middleware import Middleware
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from demo.calls import check_call
from demo.endpoints import WORKERS, add_endpoints
from demo.examples import write_examples
from demo.guard import EXPLAINED, Guard, served_addresses
from demo.limits import Limits, make_impatient
from demo.looks import Choice, RefusedError
from demo.service import RELIABLE, Options, Service
from demo.turns import Listeners, Turns
from demo.uploads import MAX_BYTES, Sessions, UploadsOnly
from pg2lib.config import DEFAULT_CHECKPOINT
from pg2lib.errors import PG2Error
from pg2lib.pipeline import PG2Pipeline

HERE = Path(__file__).parent

USER = "guest"
"""The user name that goes with ``--password``."""

SESSIONS = 100
"""Sessions whose settings gradio keeps, though the page has none; each call without a cookie is one."""

SWEEP_S = 30
"""How often old files are deleted, and answers that nobody fetches forgotten."""

UPLOAD = "/gradio_api/upload"
OPEN = re.compile(
    r"/(?!gradio_api/|logout)|/gradio_api/("
    r"upload/?$|file=|call/|queue/(join|data)|info|cancel|reset|heartbeat/|startup-events|app_id|login_check|theme\.css)"
)
"""Paths of gradio that the page and `gradio_client` use; others fetch URLs, skip the queue, or never end."""

POLICY = (
    "default-src 'self' data: blob:; script-src 'self' 'unsafe-inline' 'unsafe-eval'; "
    "style-src 'self' 'unsafe-inline'; object-src 'none'; base-uri 'self'; form-action 'self'"
)
"""What the page may load: nothing of other servers. Gradio's page has scripts within it."""

MOUNT = """
import(new URL("page/main.mjs", document.baseURI)).then(({ mount }) => mount(element));
"""

HEAD = """
<link rel="stylesheet" href="page/page.css">
<meta name="description" content="Show the person of a photo in another pose.">
"""


class Page(UploadsOnly):
    """The page, and the folder of its example photos, which lives as long as the page."""

    def __init__(self, pipelines: Mapping[str, PG2Pipeline]) -> None:
        """Build the page.

        Args:
            pipelines: models by name; the first is the default.
        """
        super().__init__(title="PG2: a person in another pose", analytics_enabled=False)
        self.service = Service(pipelines)
        self.examples = tempfile.TemporaryDirectory(prefix="pg2-examples-")
        written = write_examples(Path(self.examples.name))
        self.listed = [{"name": each["name"], "url": f"examples/{each['file']}"} for each in written]
        with self:
            gr.HTML(js_on_load=MOUNT, apply_default_css=False, padding=False, elem_id="page")
            add_endpoints(self, self.service, self.listed)
        self.queue(api_open=False)
        self.turns = self._queue = Turns(
            live_updates=False, concurrency_count=self.max_threads, update_intervals=5, max_size=None, blocks=self
        )

    def warm_up(self) -> None:
        """Load what the first request would otherwise wait for, and make the result that the page opens with."""
        example = Path(self.examples.name) / Path(self.listed[0]["url"]).name
        pose = RELIABLE[0]
        try:
            content, _ = self.service.repose(Choice(str(example)), pose, Options())
        except RefusedError as error:  # MediaPipe is missing, and the message says what to install
            print(f"warning: {error}", file=sys.stderr)
            return
        (example.parent / "result.png").write_bytes(content)
        self.listed[0] |= {"pose": pose, "result": "examples/result.png"}

    async def keep_house(self) -> None:
        """Delete old files and forget old answers, for ever."""
        while True:
            await asyncio.sleep(SWEEP_S)
            self.turns.forget()
            await anyio.to_thread.run_sync(self.store.sweep)
            for files in self.temp_file_sets:  # gradio's own record of them
                files.clear()


def launch(page: Page, host: str, port: int, password: str | None = None, limits: Limits | None = None) -> str:
    """Serve the page in a thread of its own, and return its address.

    Raises:
        OSError: there is no such host, or the port is taken.
    """
    mimetypes.add_type("text/javascript", ".mjs")
    middleware = [
        Middleware(
            Guard, addresses=served_addresses(host, port), policy=POLICY, open_paths=OPEN,
            files={UPLOAD: MAX_BYTES + 2**16}, limits=limits, check_body=functools.partial(check_call, page.fns),
        ),
        Middleware(Sessions, store=page.store),
        Middleware(Listeners, queue=page.turns),
    ]  # fmt: skip
    routes = [
        Route(UPLOAD, page.store.upload, methods=["POST"]),
        Mount("/page", StaticFiles(directory=HERE / "page")),
        Mount("/examples", StaticFiles(directory=page.examples.name)),
    ]

    @contextlib.asynccontextmanager
    async def lifespan(app: object) -> AsyncIterator[None]:
        task = asyncio.create_task(page.keep_house())
        yield
        task.cancel()

    _, address, _ = page.launch(
        server_name=host,
        server_port=port,
        auth=None if password is None else (USER, password),
        auth_message=f"The user name is <b>{USER}</b>. The password is known to whoever runs this page.",
        app_kwargs={
            "middleware": middleware,
            "routes": routes,
            "lifespan": lifespan,
            "exception_handlers": EXPLAINED,
        },
        head=HEAD,
        share=False,
        ssr_mode=False,
        run_history=False,
        enable_monitoring=False,
        footer_links=[],
        state_session_capacity=SESSIONS,
        theme=theme(),
        quiet=True,
        prevent_thread_lock=True,
    )
    make_impatient(page.server.config)
    return str(address).rstrip("/")


def theme() -> gr.themes.Base:
    """Return gradio's default theme with the fonts of the system."""
    return gr.themes.Default(
        primary_hue="orange", font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"]
    )


def load_pipelines(names: Sequence[str]) -> dict[str, PG2Pipeline]:
    """Load pipelines, under names that tell nothing of the folders of this computer.

    Raises:
        CheckpointError: a pipeline cannot be loaded.
    """
    pipelines: dict[str, PG2Pipeline] = {}
    for given in names:
        name = short = Path(given).resolve().name if Path(given).is_dir() else given
        while name in pipelines:
            name = f"{short} ({len(pipelines) + 1})"
        pipelines[name] = PG2Pipeline.from_pretrained(given)
    return pipelines


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Show the person of a photo in another pose, in a browser.")
    parser.add_argument(
        "--host", default="127.0.0.1", help="address to serve; 0.0.0.0 serves the network (default: %(default)s)"
    )
    parser.add_argument("--port", type=int, default=7860, help="port to listen on (default: %(default)s)")
    parser.add_argument(
        "--weights", metavar="NAME_OR_FOLDER", action="append",
        help="a checkpoint that ships with pg2lib, a pipeline folder, or a hub id; several give a choice on the page, "
        f"and the first is used unless another is chosen (default: {DEFAULT_CHECKPOINT})",
    )  # fmt: skip
    parser.add_argument(
        "--password", metavar="WORD", help=f"what others on the network have to enter, with the user name {USER}"
    )
    parser.add_argument("--public", action="store_true", help="serve the network without a password")
    parser.add_argument("--study", metavar="DIR", type=Path, help="serve the user study in this folder instead")
    parser.add_argument("--results", action="store_true", help="with --study: print its table and exit")
    options = parser.parse_args(arguments)
    if options.results and options.study is None:
        parser.error("--results needs --study DIR")
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve the page until it is interrupted."""
    options = parse(arguments)
    if options.study is not None:
        from demo.study import print_results, serve_study

        if options.results:
            return print_results(options.study)
        return serve_study(options.study, options.host, options.port)
    try:
        if served_addresses(options.host, options.port) is None and not (options.public or options.password):
            print(
                f"error: --host {options.host} serves the network: whoever reaches it can use this page. Protect it "
                "with --password WORD, or say --public",
                file=sys.stderr,
            )
            return 2
        # Pictures that are made at once share the cores, instead of each claiming all of them.
        torch.set_num_threads(max(1, torch.get_num_threads() // WORKERS))
        pipelines = load_pipelines(options.weights or [DEFAULT_CHECKPOINT])
        page = Page(pipelines)
        address = launch(page, options.host, options.port, options.password)
    except PG2Error as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"error: cannot serve on {options.host}:{options.port}; try another --port. ({error})", file=sys.stderr)
        return 2
    print(f"The demo runs on {address} (Ctrl-C ends it)", flush=True)
    if served_addresses(options.host, options.port) is None:
        who = f"with the user name {USER} and the password" if options.password else "without a password"
        print(
            f"Others on the network open http://{socket.gethostname()}:{options.port} {who}. Nothing is encrypted: "
            "on a network that you do not trust, put a server with HTTPS in front.",
            flush=True,
        )
    threading.Thread(target=page.warm_up, daemon=True).start()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C: uploads are deleted
    page.block_thread()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
