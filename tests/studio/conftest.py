"""A run trained for a few steps, a studio that serves it in a process of its own, and a browser that watches it."""

import asyncio
import os
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from looksharp.data.build import DataConfig
from looksharp.training import train
from looksharp.training.settings import OptimizationConfig, RunConfig, TrainingConfig

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
ARGUMENTS = ("--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update")


def small_config(**training):
    """Settings of a training on biased digits that takes seconds."""
    return RunConfig(
        data=DataConfig("biased_digits", settings={"train": 160, "val": 40, "test": 80, "rho": 1.0}),
        optimization=OptimizationConfig(lr=0.02),
        training=TrainingConfig(**{"epochs": 2, "batch_size": 32, "device": "cpu", "workers": 0} | training),
    )


@pytest.fixture(scope="session")
def small_run(tmp_path_factory):
    """A run folder."""
    folder = tmp_path_factory.mktemp("studio") / "plain"
    train(small_config(), folder, progress=False)
    return folder


@pytest.fixture(scope="session")
def awaited():
    """Runs a coroutine in a thread of its own: a browser that is open keeps a loop running in the main one."""
    with ThreadPoolExecutor(1) as aside:
        yield lambda coroutine: aside.submit(asyncio.run, coroutine).result()


@pytest.fixture(scope="session")
def serving():
    """Serves a studio in a process of its own: a context manager that yields the process and the printed address.

    It opens no browser but a program that is named.
    """
    return _serving


@contextmanager
def _serving(*arguments, browser=None):
    command = [sys.executable, "-m", "looksharp", "studio", *map(str, arguments), "--device", "cpu"]
    command += ["--no_browser"] if browser is None else []
    environment = os.environ | {"OMP_NUM_THREADS": "1", "BROWSER": str(browser)}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
    try:
        line = process.stdout.readline()
        assert "http://" in line, process.stderr.read()
        yield process, re.search(r"http://\S+", line)[0]
    finally:
        process.terminate()
        errors = process.communicate(timeout=30)[1]
    # A page that goes on without what failed, as NiceGUI's do, has failed all the same.
    assert not re.search("Traceback|deleted", errors), errors


@pytest.fixture(scope="session")
def chromium():
    """Debian's Chromium, driven by Playwright."""
    if CHROMIUM is None:
        pytest.skip("no Chromium is installed")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=list(ARGUMENTS))
        yield browser
        browser.close()


@pytest.fixture
def visit(chromium):
    """Opens an address in a fresh browser context, of a width; at the end nothing may have gone wrong in any."""
    contexts, wrong = [], []

    def open_page(address, width=1280):
        context = chromium.new_context(viewport={"width": width, "height": 900})
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(90_000)
        own = re.match(r"(http|ws)(://[^/]+)", address)[2]

        def watch(url):
            if not re.match(rf"(http|ws){re.escape(own)}/|data:|blob:", url):
                wrong.append(f"asked outside: {url}")

        page.on("console", lambda said: said.type in ("error", "warning") and wrong.append(said.text))
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("request", lambda request: watch(request.url))
        page.on("websocket", lambda socket: watch(socket.url))
        page.on(
            "response", lambda response: response.status >= 400 and wrong.append(f"{response.status} {response.url}")
        )
        page.goto(address)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert wrong == []


@pytest.fixture
def serious():
    """Returns what axe-core finds in a page of serious or critical impact."""
    return _serious


def _serious(page):
    from axe_playwright_python.sync_playwright import Axe

    found = Axe().run(page).response["violations"]
    return [
        f"{each['id']}: {node['html'][:200]}"
        for each in found
        if each["impact"] in ("serious", "critical")
        for node in each["nodes"][:3]
    ]
