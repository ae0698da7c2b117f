"""Text files that hold marks: read whole, with bounds, and errors in one line that name the file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

__all__ = ["read_json", "read_text", "read_xml", "shown"]

_LARGEST = 2 << 30  # bytes; COCO's training file has 450 million


def read_text(file: Path, kind: str) -> str:
    """Return a file's text, without a byte-order mark.

    Args:
        file: the file.
        kind: the expected content, for messages, such as "YOLO labels".

    Raises:
        ValueError: if the file is too large, or is not text in UTF-8; in one line.
    """
    if file.stat().st_size > _LARGEST:
        raise ValueError(f"{file} has more than {_LARGEST >> 30} GiB, too much for {kind}; divide it")
    try:
        return file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise ValueError(f"{file} is not text in UTF-8; expected {kind}; save it as UTF-8 or export it again") from None


def read_json(file: Path, kind: str, mend: str = "export it again") -> Any:
    """Return the content of a JSON file.

    Raises:
        ValueError: if it is not JSON, or nested too deep to be read; in one line.
    """
    try:
        return json.loads(file.read_bytes())
    except RecursionError:
        reason = "its brackets are nested too deep"
    except UnicodeDecodeError:
        reason = "it is not text in UTF-8"
    except (ValueError, OverflowError) as error:
        reason = str(error).splitlines()[0]
    raise ValueError(f"{file} is not JSON: {reason}; expected {kind}; {mend}") from None


def read_xml(file: Path, kind: str) -> ElementTree.Element:
    """Return the root of an XML file.

    Raises:
        ValueError: if it is not XML; in one line.
    """
    try:
        return ElementTree.parse(file).getroot()
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        raise ValueError(f"{file} is not XML: {error}; expected {kind}; export it again") from None


def shown(value: object, length: int = 60) -> str:
    """Return the beginning of a value as text, in one line, for a message."""
    return " ".join(str(value)[:length].split())
