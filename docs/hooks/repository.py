"""Pages may link to any file of the repository: the site carries what they link to.

README.md is the home page, so that there is one text. Links are written so that they work where
the file lies (in an editor, on a code host) and are turned into links of the site here; MkDocs then
checks them, anchors included.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mkdocs.structure.files import File

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

REPOSITORY = Path(__file__).resolve().parents[2]
DOCS = REPOSITORY / "docs"
README = REPOSITORY / "README.md"

# Code, which holds no links, or the target of a link.
_LINK = re.compile(r"^```.*?^```|`[^`\n]*`|(?<=\]\()[^)\s#]+", re.MULTILINE | re.DOTALL)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the home page, pages of ``nav`` outside docs/, and all that pages link to."""
    _add(files, config, README)
    for path in _leaves(config.nav):
        if files.get_file_from_path(path) is None and (REPOSITORY / path).is_file():
            _add(files, config, REPOSITORY / path)
    waiting = [Path(file.abs_src_path or "") for file in files.documentation_pages()]
    while waiting:
        source = waiting.pop()
        for target in _LINK.findall(source.read_text(encoding="utf-8")):
            linked = _in_repository(source, target)
            if linked and files.get_file_from_path(_site_path(linked)) is None:
                _add(files, config, linked)
                if linked.suffix == ".md":
                    waiting.append(linked)
    return files


def on_page_markdown(markdown: str, page: Page, **_: Any) -> str:
    """Turn links to files of the repository into links to their places in the site."""
    source = Path(page.file.abs_src_path or "")
    folder = posixpath.dirname(page.file.src_uri)

    def replaced(match: re.Match[str]) -> str:
        linked = _in_repository(source, match.group())
        if linked is None:
            return match.group()
        return posixpath.relpath(_site_path(linked), folder or ".")

    return _LINK.sub(replaced, markdown)


def _in_repository(source: Path, target: str) -> Path | None:
    """The file of the repository that a page links to; None for code and for other links."""
    if target.startswith("`") or ":" in target:
        return None
    path = (source.parent / target).resolve()
    return path if path.is_file() and path.is_relative_to(REPOSITORY) else None


def _site_path(path: Path) -> str:
    if path == README:
        return "index.md"
    return path.relative_to(DOCS if path.is_relative_to(DOCS) else REPOSITORY).as_posix()


def _add(files: Files, config: MkDocsConfig, path: Path) -> None:
    files.append(File.generated(config, _site_path(path), abs_src_path=str(path)))


def _leaves(nav: Any) -> Iterator[str]:
    if isinstance(nav, str):
        yield nav
    elif nav:
        for item in nav.values() if isinstance(nav, dict) else nav:
            yield from _leaves(item)
