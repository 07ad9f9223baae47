"""Putting one self-contained HTML page together."""

from __future__ import annotations

import base64
import hashlib
import html
import json
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING, Any

import numpy as np

from symgnn.files import written_whole

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

_FOLDER = Path(__file__).resolve().parent
_TYPES = {"float32": "Float32Array", "int32": "Int32Array", "uint8": "Uint8Array"}


def packed(values: NDArray[Any], dtype: str) -> dict[str, str]:
    """An array as JSON: its JavaScript type and its little-endian bytes in base64, flattened."""
    raw = np.ascontiguousarray(values, dtype=np.dtype(dtype).newbyteorder("<")).tobytes()
    return {"type": _TYPES[dtype], "bytes": base64.b64encode(raw).decode("ascii")}


def table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """An HTML table whose first column names the rows; every cell is escaped."""
    head = "".join(f'<th scope="col">{html.escape(heading)}</th>' for heading in headings)
    body = "".join(
        f'<tr><th scope="row">{html.escape(row[0])}</th>'
        + "".join(f"<td>{html.escape(cell)}</td>" for cell in row[1:])
        + "</tr>"
        for row in rows
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def definitions(entries: Mapping[str, str]) -> str:
    """Names and values as an HTML description list; empty values are left out."""
    return "".join(
        f"<dt>{html.escape(name)}</dt><dd>{html.escape(value)}</dd>"
        for name, value in entries.items()
        if value
    )


def tiles(entries: Mapping[str, str]) -> str:
    """The few numbers that a reader looks for first."""
    return "".join(
        f"<li><strong>{html.escape(value)}</strong><span>{html.escape(name)}</span></li>"
        for name, value in entries.items()
    )


def warning(text: str) -> str:
    """A warning that stands out; nothing for an empty text."""
    return f'<p class="warning" role="note">{html.escape(text)}</p>' if text else ""


def file_date(path: Path) -> str:
    """When a file was last changed, in UTC; empty where there is no such file."""
    if not path.is_file():
        return ""
    return f"{datetime.fromtimestamp(path.stat().st_mtime, UTC):%Y-%m-%d %H:%M} UTC"


def write_page(
    output: Path,
    name: str,
    *,
    title: str,
    parts: Mapping[str, str],
    data: Mapping[str, Any],
    scripts: Sequence[str],
) -> None:
    """Write a page, whole or not at all.

    Args:
        output: HTML file.
        name: of the template in ``templates`` that holds the body.
        title: of the page, plain text.
        parts: HTML for the places in the body; what comes from users is escaped already.
        data: what the scripts read, as JSON; arrays as :func:`packed` gives them.
        scripts: files in ``vendor`` or ``templates``, in order.

    Raises:
        SymGNNError: the file cannot be written.
    """
    code = [_read(script).replace("</script", "<\\/script") for script in scripts]
    body = Template(_read(f"templates/{name}.html")).substitute(
        parts,
        title=html.escape(title),
        written=f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        version=html.escape(version("symgnn")),
    )
    text = Template(_read("templates/page.html")).substitute(
        title=html.escape(title),
        policy=_policy(code),
        style=_read("templates/page.css"),
        body=body,
        # In JSON "<" stands inside strings alone, where this means the same.
        data=json.dumps(data, allow_nan=False).replace("<", "\\u003c"),
        scripts="\n".join(f"<script>{text}</script>" for text in code),
    )
    with written_whole(output) as unfinished:
        unfinished.write_text(text, encoding="utf-8", newline="\n")


def _policy(scripts: Sequence[str]) -> str:
    """Content security policy: these scripts and no others, and no connection to anywhere.

    Styles may stand in the page because Observable Plot writes some; they cannot load anything.
    """
    digests = (hashlib.sha256(text.encode("utf-8")).digest() for text in scripts)
    sources = " ".join(f"'sha256-{base64.b64encode(digest).decode()}'" for digest in digests)
    return (
        f"default-src 'none'; script-src {sources}; style-src 'unsafe-inline'; "
        "img-src data: blob:; base-uri 'none'; form-action 'none'"
    )


def _read(name: str) -> str:
    return (_FOLDER / name).read_text(encoding="utf-8")
