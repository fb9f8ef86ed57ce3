"Widgets in a real JupyterLab, driven in Chromium; decoded pixels are compared, not addresses."
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(not CHROMIUM, reason="needs Chromium")
FLAGS = "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking --disable-component-update --disable-sync".split()
PIXELS = """selector => { const i = document.querySelector(selector), c = document.createElement('canvas');
  c.width = i.naturalWidth; c.height = i.naturalHeight; const x = c.getContext('2d'); x.drawImage(i, 0, 0);
  return Array.from(x.getImageData(0, 0, c.width, c.height).data) }"""
KERNEL = "window.jupyterapp?.shell.currentWidget?.sessionContext?.session?.kernel?.status"
TOKEN = "a-token-for-the-test"


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    "A JupyterLab on localhost with a token and settings of its own; gives its folder and address."
    home = tmp_path_factory.mktemp("lab")
    with socket.socket() as free: free.bind(("127.0.0.1", 0)); port = free.getsockname()[1]
    env = {**os.environ, "JUPYTER_CONFIG_DIR": f"{home}/.config", "JUPYTER_DATA_DIR": f"{home}/.data", "IPYTHONDIR": f"{home}/.ipython"}
    server = subprocess.Popen([sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--ip=127.0.0.1", f"--ServerApp.port={port}", "--ServerApp.port_retries=0",
                               f"--IdentityProvider.token={TOKEN}", f"--ServerApp.root_dir={home}", "--expose-app-in-browser"], env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(600):
            try: urllib.request.urlopen(f"{address}/api", timeout=1); break
            except OSError: time.sleep(0.2)
        yield home, address
    finally:
        server.terminate()
        server.wait(60)


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


def open_notebook(lab, browser, name, source):
    "A page on a notebook with one cell, run, and its widget's picture on the screen."
    home, address = lab
    python = dict(name="python3", display_name="Python 3 (ipykernel)", language="python")
    nbformat.write(new_notebook(cells=[new_code_cell(source)], metadata=dict(kernelspec=python)), home / name)
    page = browser.new_page(viewport=dict(width=1300, height=1000))
    page.goto(f"{address}/lab/tree/{name}?token={TOKEN}&reset")
    page.wait_for_function(f"() => {KERNEL} === 'idle'", timeout=180_000)
    page.evaluate("() => { window.jupyterapp.commands.execute('notebook:run-all-cells') }")
    page.wait_for_selector(".widget-image", timeout=180_000)
    page.wait_for_function("() => document.querySelector('.widget-image').naturalWidth > 0", timeout=60_000)
    return page


def press(page, selector, key, says):
    "Press a key on a control and wait until the sentence under the picture says so; returns the new pixels."
    control = page.locator(selector).first
    control.focus()
    control.press(key)
    page.wait_for_function("words => document.querySelector('[role=status]').textContent.includes(words)", arg=says, timeout=60_000)
    page.wait_for_timeout(500)
    return page.evaluate(PIXELS, ".widget-image")


def difference(a, b): return sum(abs(x - y) for x, y in zip(a, b)) / len(a) if len(a) == len(b) else 255


def test_a_slider_redraws_the_best_discriminator(lab, browser):
    "The function of the objectives chapter, by keyboard; one step back restores every pixel."
    chapter = nbformat.read(os.path.join(os.path.dirname(__file__), "../nbs/11_objectives.ipynb"), as_version=4)
    code = [c.source for c in chapter.cells if c.cell_type == "code"]
    wanted = [c for c in code if any(s in c for s in ("import matplotlib", "x = torch.linspace(-15", "def draw_best"))]
    page = open_notebook(lab, browser, "slider.ipynb", "import torch\nfrom ganlab.objectives import *\n" + "\n".join(wanted))
    assert "0.492" in page.inner_text("[role=status]")
    before = page.evaluate(PIXELS, ".widget-image")
    moved = press(page, ".noUi-handle", "ArrowRight", "Fakes at 1.6")
    back = press(page, ".noUi-handle", "ArrowLeft", "Fakes at 1.5")
    assert difference(before, moved) > 0.05 and difference(before, back) == 0
    page.close()


def test_the_browser_turns_pages_and_filters(lab, browser):
    page = open_notebook(lab, browser, "browse.ipynb", "from ganlab.data import load\nfrom ganlab.viz import browse\nbrowse(load('digits', 32))")
    first = page.evaluate(PIXELS, ".widget-image")
    second = press(page, ".noUi-handle", "ArrowRight", "images 24 to 47")
    assert difference(first, second) > 10
    page.locator(".widget-dropdown select").select_option("7")
    page.wait_for_function("() => /labels( 7)+$/.test(document.querySelector('[role=status]').textContent)", timeout=60_000)
    assert page.inner_text(".widget-readout") == "1"  # a new filter starts on page one
    page.wait_for_timeout(500)
    assert difference(first, page.evaluate(PIXELS, ".widget-image")) > 10
    page.close()


def test_without_its_token_the_server_gives_nothing(lab):
    with pytest.raises(urllib.error.HTTPError, match="403"): urllib.request.urlopen(f"{lab[1]}/api/contents", timeout=30)
