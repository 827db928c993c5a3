"""The demo under load: many people at once, a tenth of whom mean harm.

    python tests/torture/load.py --clients 50 --minutes 10 --hostile 0.1 --seed 0

It starts ``demo/app.py --host 0.0.0.0 --public`` in a process of its own. Honest clients do what the page does: upload
a photo, look for people, and make pictures, with pauses of 6 s on average. Hostile ones send what `HOSTILE` lists.
Every client has an address of its own in 127.0.0.0/8, which needs Linux. Prints tables of requests, latencies, refusals
and memory, and ends with 1 if an honest request failed, or the server used too much memory or logged a traceback.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import functools
import io
import json
import os
import random
import re
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

import httpx  # noqa: E402
from PIL import Image  # noqa: E402

from pg2lib import pose_presets  # noqa: E402
from pg2lib.data.synthetic import render_person  # noqa: E402

API = "/gradio_api"
PATIENCE_S = 180
MAX_PEAK_MB = 1500
SAMPLE_S = 1.0


@dataclass
class Record:
    """What became of the requests, by kind."""

    seconds: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    outcomes: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    memory: list[tuple[float, float]] = field(default_factory=list)

    async def time(self, kind: str, work: Awaitable[str]) -> str:
        start = time.monotonic()
        try:
            outcome = await work
        except (httpx.HTTPError, OSError, asyncio.TimeoutError) as error:
            outcome = type(error).__name__
        self.outcomes[kind][outcome] += 1
        if outcome == "ok":
            self.seconds[kind].append(time.monotonic() - start)
        return outcome


class Client:
    """One person's browser."""

    def __init__(self, number: int, port: int, seed: int, record: Record) -> None:
        self.local = f"127.0.{1 + number // 200}.{1 + number % 200}"
        self.port, self.record, self.random = port, record, random.Random(f"{seed}/{number}")
        # Like a browser, it sends nothing on a connection that the server is about to close.
        transport = httpx.AsyncHTTPTransport(local_address=self.local, limits=httpx.Limits(keepalive_expiry=2))
        self.http = httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{port}", transport=transport, timeout=PATIENCE_S, trust_env=False
        )
        self.photo: dict[str, Any] | None = None

    async def upload(self, content: bytes, name: str = "photo") -> str:
        answer = await self.http.post(f"{API}/upload", files={"files": (name, content)})
        if answer.status_code != 200:
            return f"{answer.status_code}"
        self.photo = {"path": answer.json()[0], "meta": {"_type": "gradio.FileData"}}
        return "ok"

    async def call(self, name: str, arguments: dict[str, Any]) -> str:
        """Call an endpoint as demo/page/api.mjs does, and fetch the file if one comes."""
        answer = await self.http.post(f"{API}/call/v2/{name}", json=arguments)
        if answer.status_code != 200:
            return f"{answer.status_code}"
        async with self.http.stream("GET", f"{API}/call/v2/{name}/{answer.json()['event_id']}") as stream:
            if stream.status_code != 200:
                return f"stream {stream.status_code}"
            async for event, data in events(stream):
                if event == "error":
                    return f"refused: {data.get('error') if isinstance(data, dict) else data}"[:60]
                if event == "complete":
                    break
            else:
                return "stream ended early"
        if isinstance(data[0], dict) and "url" in data[0]:
            found = await self.http.get(data[0]["url"])
            return "ok" if found.status_code == 200 else f"file {found.status_code}"
        return "ok"


async def events(stream: httpx.Response) -> AsyncIterator[tuple[str, Any]]:
    event = ""
    async for line in stream.aiter_lines():
        name, _, value = line.partition(": ")
        if name == "event":
            event = value
        elif name == "data":
            yield event, json.loads(value)


# -- Who comes ---------------------------------------------------------------------------------------------------------


async def honest(client: Client, photos: list[bytes]) -> None:
    """Use the page as a person does, for ever."""
    poses = list(pose_presets())
    time_of = client.record.time
    await asyncio.sleep(client.random.uniform(0, 6))
    await time_of("page", page(client))
    while True:
        if client.photo is None or client.random.random() < 0.2:
            if await time_of("upload", client.upload(client.random.choice(photos))) != "ok":
                continue
            await time_of("find_people", client.call("find_people", {"photo": client.photo}))
            await pause(client)
        if client.random.random() < 0.03:
            first, last = client.random.sample(poses, 2)
            arguments = {"photo": client.photo, "first": first, "last": last, "frames": 4}
            await time_of("animate", client.call("animate", arguments))
        else:
            pose = client.random.choice(poses)
            await time_of("repose", client.call("repose", {"photo": client.photo, "pose": pose}))
        await pause(client)


async def pause(client: Client) -> None:
    await asyncio.sleep(client.random.uniform(3, 9))


async def page(client: Client) -> str:
    for path in ("/", "/page/main.mjs", "/page/page.css"):
        answer = await client.http.get(path)
        if answer.status_code != 200:
            return str(answer.status_code)
    return await client.call("presets", {})


async def huge_upload(client: Client) -> str:
    return await client.upload(bytes(client.random.choice([40, 80]) * 2**20))


async def endless_upload(client: Client) -> str:
    """Send a file without end, as fast as it is taken."""

    async def parts() -> AsyncIterator[bytes]:
        yield b'--b\r\nContent-Disposition: form-data; name="files"; filename="a.png"\r\n\r\n'
        while True:
            yield bytes(2**16)

    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    return str((await client.http.post(f"{API}/upload", content=parts(), headers=headers)).status_code)


async def junk_json(client: Client) -> str:
    junk = client.random.randbytes(client.random.choice([10, 10_000, 200_000]))
    return await posted(client, junk)


async def deep_json(client: Client) -> str:
    depth = client.random.choice([500, 50_000])
    return await posted(client, b'{"photo": ' + b"[" * depth + b"]" * depth + b', "pose": 3}')


async def large_json(client: Client) -> str:
    return await posted(client, b'{"photo": "' + b"a" * client.random.choice([200_000, 5_000_000]) + b'", "pose": 3}')


async def posted(client: Client, content: bytes) -> str:
    headers = {"Content-Type": "application/json"}
    answer = await client.http.post(f"{API}/call/v2/repose", content=content, headers=headers)
    if answer.status_code != 200:
        return str(answer.status_code)
    stream = await client.http.get(f"{API}/call/v2/repose/{answer.json()['event_id']}")
    return "refused" if "event: error" in stream.text else "ok"


async def no_image(client: Client) -> str:
    outcome = await client.upload(client.random.randbytes(100_000), "photo.png")
    return await client.call("find_people", {"photo": client.photo}) if outcome == "ok" else outcome


@functools.cache
def very_large_picture() -> bytes:
    buffer = io.BytesIO()
    Image.new("L", (16_000, 16_000)).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


async def bomb(client: Client) -> str:
    """Send a small file that is a very large picture."""
    outcome = await client.upload(very_large_picture())
    return await client.call("find_people", {"photo": client.photo}) if outcome == "ok" else outcome


async def connected(client: Client) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection("127.0.0.1", client.port, local_addr=(client.local, 0))


async def closed_connection(client: Client) -> str:
    """Begin an upload, and go away."""
    _, writer = await connected(client)
    writer.write(f"POST {API}/upload HTTP/1.1\r\nHost: a\r\nContent-Length: 30000000\r\n".encode())
    writer.write(b"Content-Type: multipart/form-data; boundary=b\r\n\r\n--b\r\nContent-Disposition: form-data; ")
    writer.write(b'name="files"; filename="a.png"\r\n\r\n' + bytes(5_000_000))
    with contextlib.suppress(OSError):
        await writer.drain()
    writer.transport.abort()
    return "gone"


async def slow_headers(client: Client) -> str:
    return await without_end(client, b"X-Long: ")


async def slow_body(client: Client) -> str:
    return await without_end(client, b"Content-Type: application/json\r\nContent-Length: 1000\r\n\r\n")


async def without_end(client: Client, beginning: bytes) -> str:
    """Send a request one byte at a time."""
    reader, writer = await connected(client)
    writer.write(f"POST {API}/call/v2/repose HTTP/1.1\r\nHost: a\r\n".encode() + beginning)
    answer = asyncio.ensure_future(reader.read())
    for _ in range(40):
        writer.write(b"a")
        await asyncio.wait([answer], timeout=1)
        if answer.done():
            break
    outcome = "closed" if answer.done() else "open after 40 s"
    writer.transport.abort()
    await asyncio.gather(answer, return_exceptions=True)
    return outcome


async def cancelled_work(client: Client) -> str:
    """Ask for a long animation, and stop listening."""
    if client.photo is None:
        return "no photo"
    arguments = {"photo": client.photo, "first": "waving", "last": "sitting", "frames": 120}
    try:
        return await asyncio.wait_for(client.call("animate", arguments), client.random.uniform(0.5, 5))
    except asyncio.TimeoutError:
        return "cancelled"


async def unheard_work(client: Client) -> str:
    """Ask for twenty pictures, and never listen."""
    if client.photo is None:
        return "no photo"
    arguments = {"photo": client.photo, "pose": "waving"}
    answers = [await client.http.post(f"{API}/call/v2/repose", json=arguments) for _ in range(20)]
    return str(max(answer.status_code for answer in answers))


HOSTILE: dict[str, Callable[[Client], Awaitable[str]]] = {
    work.__name__: work
    for work in (
        huge_upload, endless_upload, junk_json, deep_json, large_json, no_image, bomb, closed_connection,
        slow_headers, slow_body, cancelled_work, unheard_work,
    )
}  # fmt: skip


async def hostile(client: Client, photos: list[bytes]) -> None:
    """Do harm in random order, for ever."""
    while True:
        name = client.random.choice(list(HOSTILE))
        if name in ("cancelled_work", "unheard_work"):
            await client.upload(photos[0])
        await client.record.time(f"hostile: {name}", HOSTILE[name](client))
        await asyncio.sleep(client.random.uniform(0, 2))


# -- The server --------------------------------------------------------------------------------------------------------


def start_server(weights: str, folder: Path) -> tuple[subprocess.Popen[bytes], int, Path]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = folder / "log.txt"
    command = [sys.executable, "demo/app.py", "--host", "0.0.0.0", "--public", "--port", str(port)]
    command += ["--weights", weights]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "GRADIO_TEMP_DIR": str(folder / "uploads")}
    with log.open("w") as output:
        server = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=output, stderr=subprocess.STDOUT)
    for _ in range(600):
        if "runs on http" in log.read_text():
            return server, port, log
        if server.poll() is not None:
            break
        time.sleep(0.2)
    server.kill()
    raise SystemExit(f"the demo did not start: {log.read_text()}")


def memory_mb(process: int, key: str = "VmRSS") -> float:
    """Return the memory that a process uses; with "VmHWM", the most that it ever used."""
    found = re.search(rf"{key}:\s+(\d+) kB", Path(f"/proc/{process}/status").read_text())
    return int(found[1]) / 1024 if found else 0.0


async def watch(process: int, record: Record) -> None:
    while True:
        record.memory.append((time.monotonic(), memory_mb(process)))
        await asyncio.sleep(SAMPLE_S)


# -- The campaign ------------------------------------------------------------------------------------------------------


async def campaign(options: argparse.Namespace, port: int, process: int) -> Record:
    record = Record()
    buffers = [io.BytesIO() for _ in range(6)]
    for seed, buffer in enumerate(buffers):
        picture = render_person(40 + seed, 0, "studio", shot="full", yaw_deg=0, action="standing").image
        picture.resize((768, 768), Image.Resampling.LANCZOS).save(buffer, "JPEG", quality=90)
    photos = [buffer.getvalue() for buffer in buffers]
    clients = [Client(number, port, options.seed, record) for number in range(options.clients)]
    evil = round(options.hostile * options.clients)
    tasks = [asyncio.create_task(watch(process, record))]
    tasks += [asyncio.create_task(hostile(client, photos)) for client in clients[:evil]]
    tasks += [asyncio.create_task(honest(client, photos)) for client in clients[evil:]]
    done, _ = await asyncio.wait(tasks, timeout=60 * options.minutes, return_when=asyncio.FIRST_EXCEPTION)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    for task in done:
        task.result()  # whose exception is a fault of this program
    await asyncio.gather(*(client.http.aclose() for client in clients))
    return record


def report(options: argparse.Namespace, record: Record, process: int, log: Path, files: Path) -> bool:
    """Print the figures, and return whether they are as they should be."""
    print("| kind | requests | ok | p50 s | p95 s | max s | others |\n|---|---|---|---|---|---|---|")
    failed = 0
    for kind in sorted(record.outcomes, key=lambda kind: (kind.startswith("hostile"), kind)):
        outcomes, seconds = record.outcomes[kind], sorted(record.seconds[kind])
        others = ", ".join(f"{count} x {name}" for name, count in outcomes.most_common() if name != "ok")
        cuts = [seconds[min(len(seconds) - 1, int(part * len(seconds)))] for part in (0.5, 0.95, 1)] if seconds else []
        figures = " | ".join(f"{cut:.2f}" for cut in cuts) or " | | "
        print(f"| {kind} | {outcomes.total()} | {outcomes['ok']} | {figures} | {others} |")
        failed += 0 if kind.startswith("hostile") else outcomes.total() - outcomes["ok"]
    times, used = zip(*record.memory, strict=True)
    warm = [index for index, at in enumerate(times) if at - times[0] > 60 * options.minutes / 3]
    slope = 60 * statistics.linear_regression([times[i] for i in warm], [used[i] for i in warm]).slope
    peak = memory_mb(process, "VmHWM")
    faults = log.read_text().count("Traceback")
    left = [path.stat().st_size for path in files.rglob("*") if path.is_file()]
    print(
        f"\nclients {options.clients}, hostile {options.hostile}, minutes {options.minutes}, seed {options.seed}; "
        f"honest failures {failed}; memory MB: start {used[0]:.0f}, median {statistics.median(used):.0f}, "
        f"end {used[-1]:.0f}, peak {peak:.0f}, slope {slope:+.1f} a minute after a third; tracebacks {faults}; "
        f"files {len(left)} of {sum(left) / 2**20:.0f} MB; load average {os.getloadavg()[1]:.1f}"
    )
    return not failed and not faults and peak < MAX_PEAK_MB


def main() -> int:
    parser = argparse.ArgumentParser(description="Put the demo under load.")
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--hostile", type=float, default=0.1, help="share of clients (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--weights", default="deepfashion-compact")
    parser.add_argument("--log", type=Path, help="where to keep what the server prints")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="pg2-load-") as name:
        folder = Path(name)
        server, port, log = start_server(options.weights, folder)
        try:
            record = asyncio.run(campaign(options, port, server.pid))
            good = report(options, record, server.pid, log, folder / "uploads")
        finally:
            server.send_signal(signal.SIGINT)
            try:
                server.wait(timeout=30)
            except subprocess.TimeoutExpired:
                server.kill()
            if options.log:
                options.log.write_text(log.read_text())
    return 0 if good else 1


if __name__ == "__main__":
    raise SystemExit(main())
