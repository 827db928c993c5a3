"""What a file is, told from its first bytes, and reading it within bounds."""

from __future__ import annotations

from pathlib import Path

from pg2lib.errors import DataError
from pg2lib.json_files import MAX_BYTES, read_limited

VIDEO = "a video; cut it into images first, or find its poses with a pose detector and give their JSON"
WEIGHTS = "weights of a network, not a pose; they are not loaded"
ARCHIVE = "an archive; unpack it first"
ARRAY = "a NumPy array; write it as a list in JSON, [[x, y], ...]"

_SIGNATURES: tuple[tuple[bytes, int, str], ...] = (
    (b"version https://git-lfs", 0, "a Git LFS pointer, not the file itself; run git lfs pull in its repository"),
    (b"\x93NUMPY", 0, ARRAY),
    (b"\x80\x02", 0, "a pickle, which is never loaded, as it could run code; write the poses as JSON"),
    (b"\x80\x03", 0, "a pickle, which is never loaded, as it could run code; write the poses as JSON"),
    (b"\x80\x04", 0, "a pickle, which is never loaded, as it could run code; write the poses as JSON"),
    (b"\x80\x05", 0, "a pickle, which is never loaded, as it could run code; write the poses as JSON"),
    (b"\x89HDF", 0, "an HDF5 file; write the poses as JSON"),
    (b"MATLAB", 0, "a MATLAB file; write the poses as JSON"),
    (b"%PDF", 0, "a PDF"),
    (b"\x1f\x8b", 0, ARCHIVE),
    (b"7z\xbc\xaf", 0, ARCHIVE),
    (b"Rar!", 0, ARCHIVE),
    (b"ustar", 257, ARCHIVE),
    (b"\x1a\x45\xdf\xa3", 0, VIDEO),
    (b"AVI ", 8, VIDEO),
    (b"\x00\x00\x01\xba", 0, VIDEO),
    (b"FLV", 0, VIDEO),
    (b"GLTF", 0, "a 3-D scene"),
    (b"glTF", 0, "a 3-D scene"),
    (b"Kaydara FBX", 0, "a 3-D animation (FBX)"),
    (b"HIERARCHY", 0, "a 3-D motion (BVH); project it onto an image and write 2-D keypoints"),
    (b"%YAML", 0, "YAML, as OpenPose's --write_keypoint writes it; run OpenPose with --write_json"),
    (b"{\\rtf", 0, "a document; save it as plain text"),
)
_IMAGE_SIGNATURES: tuple[tuple[bytes, int], ...] = (
    (b"\x89PNG", 0), (b"\xff\xd8\xff", 0), (b"GIF8", 0), (b"BM", 0), (b"II*\0", 0), (b"MM\0*", 0), (b"WEBP", 8),
    (b"\x00\x00\x00\x0cjP", 0),
)  # fmt: skip
_IMAGE_BRANDS = (b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1", b"avif", b"avis")


def read_bytes(path: Path, max_bytes: int = MAX_BYTES) -> bytes:
    """Return the content of a file.

    Raises:
        DataError: If there is no such file, if it is a folder or a device, or if it is larger than `max_bytes`.
    """
    if path.is_dir():
        raise DataError(f"{path} is a folder; name one of its files, or import all of them with prepare --format auto")
    try:
        return read_limited(path, max_bytes)
    except FileNotFoundError as error:
        raise DataError(f"no file {path}") from error


def is_image(content: bytes) -> bool:
    """Return whether a file begins like an image."""
    return any(content.startswith(sign, at) for sign, at in _IMAGE_SIGNATURES) or _brand(content) in _IMAGE_BRANDS


def text_of(content: bytes, where: str) -> str:
    """Return the text of a file in UTF-8 or UTF-16.

    Raises:
        DataError: If it is a file of another kind, named as far as it can be.
    """
    looks = _looks_like(content)
    if looks is not None:
        raise DataError(f"{where} looks like {looks}")
    encoding = "utf-16" if content.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8-sig"
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        raise DataError(f"{where} is neither text in UTF-8 nor a known kind of file; expected a pose file") from error
    if not text.strip():
        raise DataError(f"{where} is empty; expected a pose file")
    return text


def _looks_like(content: bytes) -> str | None:
    """Return what a file of another kind looks like."""
    for sign, at, looks in _SIGNATURES:
        if content.startswith(sign, at):
            return looks
    if content.startswith(b"PK"):
        head = content[:4096]
        if b"data.pkl" in head or b"/version" in head:
            return f"a PyTorch file (.pth): {WEIGHTS}"
        return ARRAY if b".npy" in head else ARCHIVE
    if content[8:10] == b'{"' and b"\0" in content[:8]:
        return f"a safetensors file: {WEIGHTS}"
    if _brand(content):
        return VIDEO
    if is_image(content):
        return "an image, not a pose file"
    head = content[:512].lstrip().lower()
    if head.startswith((b"<!doctype html", b"<html")):
        return "a web page; download the file itself"
    return "XML; expected JSON or text" if head.startswith((b"<?xml", b"<svg", b"<annotation")) else None


def _brand(content: bytes) -> bytes:
    """Return the brand of an ISO media file: HEIC, AVIF, MP4, MOV; empty for other files."""
    return content[8:12] if content[4:8] == b"ftyp" else b""
