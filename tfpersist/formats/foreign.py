"""Name files that have nothing to do with the formats that this package reads."""

from __future__ import annotations

import re

import attrs


@attrs.frozen
class FileKind:
    """A kind of file.

    Args:
        name: such as "a Keras model (HDF5)".
        advice: what reads it.
    """

    name: str
    advice: str


_KERAS = (
    "Restore a model from it with tfpersist.ModelStore(path).restore(model). To freeze it, load it"
    " with keras.models.load_model(), and pass the model to tfpersist.Freezer."
)
ZIP = FileKind("a Keras model or another zip file", _KERAS)
_NUMPY = "Read it with numpy.load() (np.load), and pass the arrays in a dict."
_WEB_PAGE = FileKind(
    "a web page (HTML)", "A server has sent it in place of the file. Download the file itself."
)
_ANSWER = "If a server has sent it in place of the file, download the file itself."
_XML = FileKind("an XML document", _ANSWER)
_JSON = FileKind("a JSON document", _ANSWER)
_ONNX = FileKind("an ONNX model", "Run it with ONNX Runtime.")
_TORCH = FileKind("a file of PyTorch", "Read it with torch.load(), and pass the arrays in a dict.")
_SAFETENSORS = FileKind(
    "a file of safetensors",
    "Read it with safetensors.numpy.load_file(), and pass the arrays in a dict.",
)
_HEADS = {
    b"\x89HDF\r\n\x1a\n": FileKind("a Keras model or weights in HDF5", _KERAS),
    b"PK\x03\x04": ZIP,
    b"\x93NUMPY": FileKind("a NumPy array", _NUMPY),
    b"\x1f\x8b": FileKind("a gzip file", "Unpack it first."),
    b"version https://git-lfs.github.com/spec/": FileKind(
        "a pointer of Git LFS in place of the file", "Fetch the file with: git lfs pull."
    ),
}
# The first bytes of a zip file: its fixed part, with the length of the first name at 26, and then
# that name.
_ZIP_NAME = 30
_MARKUP = re.compile(rb"\s*<\?xml\b")
_JSON_HEAD = re.compile(rb'\s*\{\s*(?:"|\}\s*$)|\s*\[\s*[\[{"]')
# The length of the JSON that follows, in 8 bytes.
_SAFETENSORS_HEAD = re.compile(rb'.{5}\0{3}\{\s*"', re.DOTALL)
# A pickle of protocol 2 or later: a frame, or the start of a dict, list or tuple, or a name.
_PICKLE_HEAD = re.compile(rb"\x80(?:[\x04\x05]\x95|[\x02\x03][}\](c\x8a])")
_TAR_HEAD = re.compile(rb".{257}ustar", re.DOTALL)
_LITE_HEAD = re.compile(rb".{4}TFL3", re.DOTALL)
_HTML = re.compile(rb"\s*(?:<\?xml[^>]*>\s*)?<(?:!doctype html|html)\b", re.IGNORECASE)
# An ONNX model begins with the version of its format, a SavedModel with 1.
_ONNX_HEAD = re.compile(rb"\x08[\x03-\x1f][\x12\x1a\x22\x3a\x42]")

_PATTERNS = {
    _LITE_HEAD: FileKind("a TensorFlow Lite model", "Run it with TensorFlow Lite's interpreter."),
    _TAR_HEAD: FileKind("a tar archive", "Unpack it first."),
    _ONNX_HEAD: _ONNX,
    _HTML: _WEB_PAGE,
    _MARKUP: _XML,
    _JSON_HEAD: _JSON,
    _SAFETENSORS_HEAD: _SAFETENSORS,
    _PICKLE_HEAD: FileKind(
        "a pickle of Python", "Unpickle it only if you trust its author, and pass the arrays."
    ),
}


def foreign(data: memoryview) -> FileKind | None:
    """Return the kind of a file that TensorFlow's formats have nothing to do with; None if unknown.

    Args:
        data: the whole file.

    Example:
        >>> foreign(memoryview(b"<!DOCTYPE html><html>Not found</html>")).name
        'a web page (HTML)'
    """
    head = bytes(data[:512])
    if head.startswith(b"PK\x03\x04"):
        first_name = head[_ZIP_NAME : _ZIP_NAME + int.from_bytes(head[26:28], "little")]
        if first_name.endswith(b".npy"):
            return FileKind("a NumPy file of arrays (npz)", _NUMPY)
        if first_name.endswith(b"/data.pkl"):
            return _TORCH
    for magic, file_kind in _HEADS.items():
        if head.startswith(magic):
            return file_kind
    for pattern, file_kind in _PATTERNS.items():
        if pattern.match(head):
            return file_kind
    return None
