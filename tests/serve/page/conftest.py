"""A real browser, and pages of the server in it.

Playwright is imported when a browser is asked for: without its package these tests are skipped.
"""

from __future__ import annotations

import pytest


@pytest.fixture(scope="module")
def browser():
    """The system's own chromium with an empty profile."""
    from playwright.sync_api import sync_playwright

    from serve.visits import launch

    with sync_playwright() as playwright:
        browser = launch(playwright)
        yield browser
        browser.close()


@pytest.fixture
def visit(browser, live):
    """`open_page` of a server, that of all tests by default."""
    from serve.visits import open_page

    pages = []

    def visit(server=live, **options):
        pages.append(open_page(browser, server, **options))
        return pages[-1]

    yield visit
    for page in pages:
        page.context.close()


@pytest.fixture(scope="module")
def asked(browser, live):
    """A page that was asked `QUESTION`; tests may move its stage and nothing else."""
    from serve.visits import QUESTION, ask, open_page

    page = ask(open_page(browser, live), QUESTION)
    yield page
    page.context.close()
