"""Swagger UI works offline, under its content security policy, in a real browser."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import httpx
import pytest
from playwright.sync_api import Page, sync_playwright

HEALTH = '[id$=".get_health"]'  # Swagger UI escapes the dot


@pytest.fixture(scope="module")
def browser_path() -> str:
    """Debian's chromium; playwright's own would be a download."""
    found = shutil.which("chromium")
    assert found is not None, "install the Debian package chromium"
    return found


@pytest.fixture
def page(browser_path: str) -> Iterator[Page]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=browser_path, args=["--no-sandbox"])
        yield browser.new_page()
        browser.close()


def test_try_it_out_works_offline(api: httpx.Client, page: Page) -> None:
    """An operation is drawn from the contract, executed, and its answer shown; nothing comes from elsewhere."""
    requested: list[str] = []
    errors: list[str] = []
    page.on("request", lambda request: requested.append(request.url))
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: errors.append(str(error)))

    page.goto(f"{api.base_url}/ui/")
    page.click(f"{HEALTH} .opblock-summary-control")
    page.click(f"{HEALTH} button.execute")
    answer = page.text_content(f"{HEALTH} .live-responses-table tbody .response-col_description")

    assert answer is not None
    assert '"live": true' in answer
    assert errors == []
    assert all(url.startswith((str(api.base_url), "data:")) for url in requested)


def test_every_operation_is_drawn(api: httpx.Client, page: Page) -> None:
    contract = api.get("/openapi.json").json()
    count = sum(1 for item in contract["paths"].values() for method in item if method != "parameters")

    page.goto(f"{api.base_url}/ui/")
    page.wait_for_selector(".opblock")

    assert page.locator(".opblock").count() == count


def test_a_link_cannot_point_it_at_another_contract(api: httpx.Client, page: Page) -> None:
    requested: list[str] = []
    page.on("request", lambda request: requested.append(request.url))

    page.goto(f"{api.base_url}/ui/?url=https://evil.example/openapi.json&configUrl=https://evil.example/c.json")
    page.wait_for_selector(".opblock")

    assert not any(url.startswith("https://evil.example") for url in requested)
