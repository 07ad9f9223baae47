"""The documentation site: it builds without a warning, stands alone, and says what is so."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sysconfig
from html.parser import HTMLParser
from pathlib import Path

import pytest

import symgnn
from symgnn.cli import VERBS, run

REPOSITORY = Path(__file__).resolve().parent.parent
MEASURED = ("docs/theory.md", "docs/comparison.md")
"""Pages whose numbers all have a source beside them."""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site as `make docs` builds it; broken links and anchors are errors."""
    folder = tmp_path_factory.mktemp("documentation") / "site"
    result = subprocess.run(
        [f"{sysconfig.get_path('scripts')}/mkdocs", "build", "--strict", "--site-dir", str(folder)],
        cwd=REPOSITORY,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr[-3000:]
    return folder


def text_of(page: Path) -> str:
    return re.sub(r"<[^>]+>", "", page.read_text(encoding="utf-8"))


class Resources(HTMLParser):
    """What a browser loads to show a page, as opposed to what it links to."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        if tag in ("img", "script", "iframe", "source", "video"):
            self.found.append(values.get("src") or "")
        elif tag == "link":
            self.found.append(values.get("href") or "")


def test_nothing_loads_from_elsewhere(site: Path) -> None:
    pages = list(site.rglob("*.html"))
    assert len(pages) > 20
    for page in pages:
        resources = Resources()
        resources.feed(page.read_text(encoding="utf-8"))
        for resource in resources.found:
            assert "//" not in resource, f"{page.name}: {resource}"
            if resource and page.name != "404.html":
                assert (page.parent / resource.partition("?")[0]).exists(), f"{page}: {resource}"
    for style in site.rglob("*.css"):
        sheet = style.read_text(encoding="utf-8")
        assert not re.search(r"(url\(|@import)\s*[\"']?(https?:)?//", sheet), style.name


@pytest.mark.skipif(not shutil.which("chromium"), reason="needs chromium")
def test_opened_from_a_folder_it_shows_and_searches(site: Path) -> None:
    from playwright.sync_api import sync_playwright

    arguments = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-sync"]
    arguments += ["--disable-background-networking", "--disable-component-update"]
    requests: list[str] = []
    errors: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=arguments
        )
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.on("request", lambda request: requests.append(request.url))
        page.on("pageerror", lambda error: errors.append(str(error)))
        for name in ("reference/command_line.html", "reference/python.html", "index.html"):
            page.goto((site / name).as_uri())
            broken = "[...document.images].filter(i => !i.complete || !i.naturalWidth).length"
            assert page.evaluate(broken) == 0, name
        page.click(".md-search__input")
        page.keyboard.type("quench")
        page.wait_for_selector(".md-search-result__item")
        assert "quench" in page.inner_text(".md-search-result__list").lower()
        page.set_viewport_size({"width": 390, "height": 800})
        for name in ("index.html", "reference/configuration.html", "tutorials/shear.html"):
            page.goto((site / name).as_uri())
            assert page.evaluate("document.documentElement.scrollWidth") <= 390, name
        browser.close()
    assert not errors
    assert requests
    assert all(url.startswith(("file:", "data:", "blob:")) for url in requests)


@pytest.mark.parametrize("verb", VERBS)
def test_the_reference_has_every_option(
    verb: str, site: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shown = text_of(site / "reference/command_line.html")
    section = shown.rpartition(f"symgnn {verb} [OPTIONS]")[2]
    assert section
    assert run([verb, "--help"]) == 0
    options = set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", capsys.readouterr().out))
    for option in options - {"--help"}:
        assert option in section, option


def test_the_reference_has_every_key_with_its_meaning(
    site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(REPOSITORY / "docs/hooks"))
    import reference

    shown = text_of(site / "reference/configuration.html")
    models = [model for models in reference.CONFIGURATIONS.values() for model in models]
    assert {"symgnn", "schnet", "density_regression"} <= {
        model.model_fields["architecture"].default
        for model in models
        if "architecture" in model.model_fields
    }
    for model in models:
        for key in set(model.model_fields) - {"architecture"}:
            assert key in shown
            assert reference.meaning(model, key), f"{model.__name__}.{key} has no docstring"


def test_the_reference_has_every_public_name(site: Path) -> None:
    page = (site / "reference/python.html").read_text(encoding="utf-8")
    for name in symgnn.__all__:
        if not name.startswith("_"):
            assert f'id="symgnn.{name}"' in page
    assert "Predicts per-atom energy barriers" in page


def test_the_reference_does_not_call_itself_empty(site: Path) -> None:
    for page in (REPOSITORY / "docs/reference").glob("*.md"):
        assert "this page is empty" in page.read_text(encoding="utf-8")
        assert "this page is empty" not in text_of(site / f"reference/{page.stem}.html")


# --- numbers ------------------------------------------------------------------------------------

_NUMBER = re.compile(r"(?<![\w.])[-+−]?(?:\d+\.\d+|\.\d+|\d+)(?:[eE][-+]?\d+)?(?!\w)")
_QUOTED = re.compile(
    r"(?<![\w.])(?:\d*\.\d+(?:e[-−]?\d+)?|\d+e[-−]?\d+|\d+(?:\.\d+)?(?=%))(?!\w)%?"
)


def quoted(block: str) -> list[str]:
    """Decimal numbers and percentages of a paragraph, list item or table."""
    return _QUOTED.findall(re.sub(r"\]\([^)]*\)|`[^`]*`|\d+% interval", "", block))


def is_in(number: str, values: list[float]) -> bool:
    """Whether some value, rounded as the number is, is this number."""
    digits = number.rstrip("%").replace("−", "-")
    mantissa, _, exponent = digits.partition("e")
    unit = 10.0 ** (int(exponent or 0) - len(mantissa.partition(".")[2]))
    scales = (1.0, 100.0) if number.endswith("%") else (1.0,)
    return any(
        abs(abs(value) * scale - float(digits)) <= 0.5001 * unit
        for value in values
        for scale in scales
    )


def items(page: str) -> list[str]:
    """Paragraphs, tables and list items of a page, without its code."""
    text = re.sub(r"^```.*?^```", "", page, flags=re.MULTILINE | re.DOTALL)
    return re.split(r"\n\s*\n|\n(?=- )", text)


@pytest.mark.parametrize("name", MEASURED)
def test_numbers_are_those_of_their_sources(name: str) -> None:
    path = REPOSITORY / name
    checked = 0
    for block in items(path.read_text(encoding="utf-8")):
        numbers = quoted(block)
        results = re.findall(r"\]\((\.\./benchmarks/results/[^)]+)\)", block)
        if not numbers:
            continue
        assert "](" in block, f"no source: {block}"
        values = [
            float(value.replace("−", "-"))
            for result in results
            for value in _NUMBER.findall((path.parent / result).read_text(encoding="utf-8"))
        ]
        for number in numbers if results else []:
            assert is_in(number, values), f"{number} is not in {results}: {block}"
            checked += 1
    assert checked or name != MEASURED[0]


def test_wrong_numbers_are_noticed() -> None:
    assert quoted("It is .81 to 0.813, 4e-7 or 71%, not 8,000 in `0.5`") == [
        ".81",
        "0.813",
        "4e-7",
        "71%",
    ]
    assert all(is_in(number, [0.8134, 4.4e-7, 0.709]) for number in (".81", "0.813", "4e-7", "71%"))
    assert not any(is_in(number, [0.8134, 4.4e-7]) for number in (".82", "0.814", "5e-7", "80%"))
