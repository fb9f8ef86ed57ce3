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
pytestmark = pytest.mark.skipif(not CHROMIUM and not os.environ.get("CI"), reason="needs Chromium")  # in CI its absence is a failure
FLAGS = "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking --disable-component-update --disable-sync".split()
PIXELS = """selector => { let i = typeof selector === 'string' ? document.querySelector(selector) : selector;
  if (i.tagName === 'IMG') { const c = document.createElement('canvas'); c.width = i.naturalWidth; c.height = i.naturalHeight; if (c.width) c.getContext('2d').drawImage(i, 0, 0); i = c; }
  if (!i.width) return [];  // a picture that is just being replaced
  return Array.from(i.getContext('2d').getImageData(0, 0, i.width, i.height).data) }"""
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


def open_notebook(lab, browser, name, *cells, **context):
    "A page on a notebook whose cells were run, with its widget on the screen; `page.errors` collects what the console complains of."
    home, address = lab
    python = dict(name="python3", display_name="Python 3 (ipykernel)", language="python")
    nbformat.write(new_notebook(cells=[new_code_cell(source) for source in cells], metadata=dict(kernelspec=python)), home / name)
    page = browser.new_page(**{"viewport": dict(width=1300, height=1000), **context})
    page.errors = []
    page.on("console", lambda m: page.errors.append(m.text) if m.type == "error" else None)
    page.on("pageerror", lambda e: page.errors.append(str(e)))
    page.goto(f"{address}/lab/tree/{name}?token={TOKEN}&reset")
    page.wait_for_function(f"() => {KERNEL} === 'idle'", timeout=180_000)
    run_all(page)
    page.wait_for_selector(".ganlab", timeout=180_000)
    page.wait_for_function("() => { const i = document.querySelector('.ganlab img'); return !i || i.naturalWidth > 0 }", timeout=60_000)
    return page


def run_all(page): page.evaluate("() => { window.jupyterapp.commands.execute('notebook:run-all-cells') }")


def python(page, code):
    "What `code` prints in the notebook's kernel, outside of its cells."
    return page.evaluate("""async code => { let said = ''; const kernel = window.jupyterapp.shell.currentWidget.sessionContext.session.kernel;
      const f = kernel.requestExecute({ code, store_history: false, silent: false });
      f.onIOPub = m => { if (m.header.msg_type === 'stream') said += m.content.text; if (m.header.msg_type === 'error') said += m.content.evalue; };
      await f.done; return said.trim() }""", code)


def says(page, words): page.wait_for_function("words => [...document.querySelectorAll('.ganlab-sentence, .ganlab-note, .ganlab-problem')].some(p => new RegExp(words).test(p.textContent))", arg=words, timeout=120_000)


def press(page, selector, key, words):
    "Press a key on a control and wait until the sentence says so; returns the new pixels."
    page.locator(selector).first.press(key)
    says(page, words)
    page.wait_for_timeout(500)
    return page.evaluate(PIXELS, ".ganlab img")


def steps(page): return int(python(page, "print(trainer.steps)"))


def difference(a, b): return sum(abs(x - y) for x, y in zip(a, b)) / len(a) if len(a) == len(b) else 255


def test_a_slider_redraws_the_best_discriminator(lab, browser):
    "The function of the objectives chapter, by keyboard; one step back restores every pixel."
    chapter = nbformat.read(os.path.join(os.path.dirname(__file__), "../nbs/11_objectives.ipynb"), as_version=4)
    code = [c.source for c in chapter.cells if c.cell_type == "code"]
    wanted = [c for c in code if any(s in c for s in ("import matplotlib", "x = torch.linspace(-15", "def draw_best"))]
    page = open_notebook(lab, browser, "slider.ipynb", "import torch\nfrom ganlab.objectives import *\n" + "\n".join(wanted))
    assert "0.492" in page.inner_text(".ganlab-sentence")
    before = page.evaluate(PIXELS, ".ganlab img")
    moved = press(page, ".ganlab input[type=range]", "ArrowRight", "Fakes at 1.6")
    back = press(page, ".ganlab input[type=range]", "ArrowLeft", "Fakes at 1.5")
    assert difference(before, moved) > 0.05 and difference(before, back) == 0
    page.close()


def test_the_browser_turns_pages_and_filters(lab, browser):
    page = open_notebook(lab, browser, "browse.ipynb", "from ganlab.data import load\nfrom ganlab.viz import browse\nbrowse(load('digits', 32))")
    first = page.evaluate(PIXELS, ".ganlab img")
    second = press(page, ".ganlab input[type=range]", "ArrowRight", "images 24 to 47")
    assert difference(first, second) > 10
    page.locator(".ganlab select").select_option("7")
    says(page, "labels( 7)+$")
    assert page.inner_text(".ganlab-number") == "1"  # a new filter starts on page one
    page.wait_for_timeout(500)
    assert difference(first, page.evaluate(PIXELS, ".ganlab img")) > 10
    page.close()


GAME = """
import torch
from ganlab.data import load
from ganlab.live import LiveLosses
from ganlab.models.mlp import mlp
from ganlab.panel import Panel, slider
from ganlab.trainer import Trainer
from ganlab.viz import grid, png
torch.manual_seed(0)
live = LiveLosses(steps=10**6)
trainer = Trainer(mlp(16, latent_dim=32, hidden=(128, 256)), load('digits', 16), callbacks=[live])
"""


@pytest.fixture
def live(lab, browser):
    page = open_notebook(lab, browser, "live.ipynb", GAME, "live")
    page.wait_for_selector("[data-name=play]")
    yield page
    python(page, "trainer.stop()")
    page.close()


def click(page, name): page.locator(f"[data-name={name}]").first.click()


def test_a_training_is_watched_paused_and_stopped(live):
    before = live.evaluate(PIXELS, ".ganlab img")
    click(live, "play")
    says(live, "Step [1-9].*playing")
    live.wait_for_timeout(2000)
    assert difference(before, live.evaluate(PIXELS, ".ganlab img")) > 0.5  # curves grow
    assert python(live, "print(6 * 7)") == "42" and python(live, "print(trainer.thread is not None)") == "True"  # the kernel is free
    click(live, "pause")
    says(live, "paused")
    at, picture = steps(live), live.evaluate(PIXELS, ".ganlab img")
    live.wait_for_timeout(1000)
    assert steps(live) == at and difference(picture, live.evaluate(PIXELS, ".ganlab img")) == 0
    click(live, "play")
    live.wait_for_timeout(1000)
    assert steps(live) > at
    start = time.perf_counter()
    click(live, "stop")
    says(live, "stopped")
    print(f"stopped after {time.perf_counter() - start:.2f} s")
    assert python(live, "print(trainer.thread)") == "None"
    assert not live.errors


def test_turns_by_hand_rates_and_the_past(live):
    click(live, "play")
    live.wait_for_timeout(3000)
    click(live, "pause")
    says(live, "paused")
    mark = "sums = lambda: [sum(p.double().sum().item() for p in n.parameters()) for n in (trainer.gan.discriminator, trainer.gan.generator)]\na = sums()"
    moved = "b = sums(); print(a[0] != b[0], a[1] != b[1]); a = b"
    python(live, mark)
    click(live, "step_d"); says(live, "D made one more turn")
    assert python(live, moved) == "True False"
    click(live, "step_g"); says(live, "G made one more turn")
    assert python(live, moved) == "False True"
    rate = live.locator("[data-name=rate_d]")
    rate.focus(); rate.press("ArrowRight")
    live.wait_for_function("() => document.querySelector('[data-name=rate_d]').getAttribute('aria-valuetext') === '1.1e-3'")
    live.wait_for_timeout(500)
    assert abs(float(python(live, "print(trainer.optimizers['discriminator'].param_groups[0]['lr'])")) / 10**-2.95 - 1) < 1e-6
    samples = ".ganlab-pictures img:nth-child(2)"
    new = live.evaluate(PIXELS, samples)
    live.locator("[data-name=history]").press("Home")
    says(live, "those of step 0")
    live.wait_for_timeout(500)
    old = live.evaluate(PIXELS, samples)
    live.locator("[data-name=history]").press("End")
    live.wait_for_function("() => !/those of/.test(document.querySelector('.ganlab-sentence').textContent)")
    live.wait_for_timeout(500)
    assert difference(old, new) > 10 and difference(new, live.evaluate(PIXELS, samples)) == 0
    paper = "(" + PIXELS + ")('.ganlab img').slice(0, 3)"
    assert live.evaluate(paper) == [255, 255, 255]
    theme = lambda name: live.evaluate("theme => window.jupyterapp.commands.execute('apputils:change-theme', { theme })", f"JupyterLab {name}")
    theme("Dark")
    live.wait_for_function(f"() => (p => p.length && Math.max(...p) < 60)({paper})", timeout=60_000)
    theme("Light")
    live.wait_for_function(f"() => (p => p.length && Math.min(...p) === 255)({paper})", timeout=60_000)
    assert not live.errors


def test_a_slider_answers_while_the_game_is_trained(live):
    "From key press to new pixels, twenty times, beside a training that draws its own curves."
    python(live, """a, b = trainer.gan.latent(2, torch.Generator().manual_seed(0))
def mix(name=None, value=None):
    walk.pictures, walk.sentence = [png(grid(trainer.gan.sample((a + (b - a) * walk['t'])[None]), scale=8))], f"mix {walk['t']:.2f}"
walk = Panel([slider('t', 0.0, 0, 1, 0.05)], mix); mix()""")
    live.evaluate("() => { const n = window.jupyterapp.shell.currentWidget.content; n.activeCellIndex = 1; window.jupyterapp.commands.execute('notebook:insert-cell-below').then(() => "
                  "{ n.activeCell.model.sharedModel.setSource('walk'); window.jupyterapp.commands.execute('notebook:run-cell') }) }")
    live.wait_for_selector("[data-name=t]", timeout=60_000)
    click(live, "play")
    says(live, "Step [1-9].*playing")
    live.evaluate("() => { window.picture = document.querySelector('[data-name=t]').closest('.ganlab').querySelector('img'); window.T = [];"
                  "picture.addEventListener('load', () => T.push(performance.now())); document.addEventListener('keydown', () => { window.K = performance.now() }, true) }")
    first, times = live.evaluate("() => (" + PIXELS + ")(picture)"), []
    before = steps(live)
    for _ in range(20):
        n = live.evaluate("T.length")
        live.locator("[data-name=t]").press("ArrowRight")
        live.wait_for_function("n => T.length > n", arg=n, timeout=60_000, polling=5)
        times.append(live.evaluate("n => T[n] - K", n))
    assert steps(live) > before  # it was playing all the while
    assert difference(first, live.evaluate("() => (" + PIXELS + ")(picture)")) > 5
    print(f"slider to pixels while training: median {sorted(times)[10]:.0f} ms, longest {max(times):.0f} ms")
    assert not live.errors


def test_an_error_in_the_thread_is_seen(lab, browser):
    trip = "def trip(D, real, fake):\n    if trainer.steps == 5: raise ArithmeticError('tripped')\n    return 0 * D(real).mean()\ntrainer.gan.penalties['trip'] = trip\ntrainer.start(100)\nlive"
    page = open_notebook(lab, browser, "error.ipynb", GAME, trip)
    says(page, "ArithmeticError: tripped")
    says(page, "ended by an error")
    page.wait_for_function("() => /Traceback[^]*tripped/.test(document.querySelector('.jp-Notebook').textContent)", timeout=60_000)
    page.close()


def test_a_cell_that_runs_again_ends_what_it_began(lab, browser):
    page = open_notebook(lab, browser, "again.ipynb", "trainers = []", GAME + "trainers.append(trainer.start(10**6))\nlive")
    says(page, "Step [1-9]")
    page.evaluate("() => { const n = window.jupyterapp.shell.currentWidget.content; n.activeCellIndex = 1; window.jupyterapp.commands.execute('notebook:run-cell') }")
    page.wait_for_timeout(500)
    while python(page, "print(len(trainers))") != "2": page.wait_for_timeout(300)
    assert python(page, "print([t.thread is not None for t in trainers])") == "[False, True]"
    python(page, "trainer.stop()")
    page.close()


def moved_by_itself(page):
    "How far the first picture is from what it was one sentence ago."
    first, said = page.evaluate(PIXELS, ".ganlab img"), page.locator(".ganlab-sentence").first.text_content()
    page.wait_for_function("said => document.querySelector('.ganlab-sentence').textContent !== said", arg=said, timeout=60_000)
    page.wait_for_timeout(1000)
    return difference(first, page.evaluate(PIXELS, ".ganlab img"))


def test_slopes_and_bounds_are_drawn_while_a_critic_learns(lab, browser):
    game = """from ganlab.callbacks import TrackLipschitz
from ganlab.data import load
from ganlab.models.wgan import wgan_gp
from ganlab.trainer import Trainer
track = TrackLipschitz(5)
trainer = Trainer(wgan_gp(8, critic="conv"), load("digits"), 16, callbacks=[track])
trainer.start(10**6)
track.show()"""
    page = open_notebook(lab, browser, "slopes.ipynb", game)
    says(page, "Step [1-9][0-9]*: the largest slope met is [0-9.]+, the product of operator norms")
    assert moved_by_itself(page) > 0 and "slope" in page.locator(".ganlab img").first.get_attribute("alt")
    python(page, "trainer.stop()")
    page.close()


def test_augmentations_are_tried_by_name_and_by_slider(lab, browser):
    page = open_notebook(lab, browser, "augment.ipynb", "import torch\nfrom ganlab.data import load\nfrom ganlab.live import try_augment\ntry_augment(load('scenes', 32)[torch.arange(8)])")
    shown = lambda n: page.evaluate(PIXELS, f".ganlab-pictures img:nth-child({n})")
    before, changed = shown(1), shown(2)
    assert difference(before, changed) > 10
    press(page, "[data-name=seed]", "ArrowRight", "color,translation,cutout")
    assert difference(changed, shown(2)) > 5 and difference(before, shown(1)) == 0
    press(page, "[data-name=probability]", "Home", "probability 0.00: pixels changed by 0.00")
    assert difference(before, shown(2)) == 0
    policy = page.locator("[data-name=policy]")
    policy.fill("cutuot"); policy.press("Enter")
    says(page, "did you mean 'cutout'")
    assert not page.errors
    page.close()


def test_gates_listen_to_another_latent(lab, browser):
    game = "import torch\nfrom ganlab.models.fastgan import fastgan, style_swap\ntorch.manual_seed(0)\ngan = fastgan(32, 3, width=8)\n" \
           "for p in gan.generator.to_big.parameters(): torch.nn.init.normal_(p, 0, 3)  # an untrained game draws grey\nstyle_swap(gan)"
    page = open_notebook(lab, browser, "swap.ipynb", game)
    mixed = page.evaluate(PIXELS, ".ganlab img")
    for side in (16, 32): page.locator(f"[data-name=map_{side}]").uncheck()
    says(page, "with its own style: it differs from the left one by 0%")
    page.wait_for_timeout(500)
    alone = page.evaluate(PIXELS, ".ganlab img")
    assert difference(mixed, alone) > 0  # little, untrained
    page.locator("[data-name=style]").press("ArrowRight")
    says(page, "right latent 2")
    page.wait_for_timeout(500)
    assert difference(alone, page.evaluate(PIXELS, ".ganlab img")) > 0.01 and not page.errors
    page.close()


def test_decoders_are_watched_while_they_learn(lab, browser):
    game = """from ganlab.callbacks import Reconstructions
from ganlab.data import load
from ganlab.models.fastgan import fastgan
from ganlab.trainer import Trainer
watch = Reconstructions(every=2)
trainer = Trainer(fastgan(32, 3, width=4, decoders="whole,part", reconstruction="pixels"), load("scenes", 32), 8, callbacks=[watch])
trainer.start(10**6)
watch.show()"""
    page = open_notebook(lab, browser, "decoders.ipynb", game)
    says(page, "Step [1-9].*whole 0.*part 0.*loss of an image")
    assert moved_by_itself(page) > 0 and page.locator(".ganlab-pictures img").count() == 2
    python(page, "trainer.stop()")
    page.wait_for_timeout(500)
    parts = [page.evaluate(PIXELS, ".ganlab-pictures img:nth-child(2)"), press(page, "[data-name=box]", "ArrowRight", "Step")]
    assert difference(parts[0], page.evaluate(PIXELS, ".ganlab-pictures img:nth-child(2)")) > 1  # another quadrant
    assert not page.errors
    page.close()


@pytest.fixture
def play(lab, browser):
    page = open_notebook(lab, browser, "play.ipynb", "from ganlab.playground import Playground\np = Playground()\np")
    page.wait_for_selector("[data-name=play]")
    page.wait_for_function("() => document.querySelector('canvas')?.width > 0")
    yield page
    python(page, "p.trainer.stop()")
    page.close()


def canvas(page):
    page.wait_for_timeout(500)
    return page.evaluate(PIXELS, "canvas")


def test_the_playground_plays_rewinds_and_steps(play):
    before = canvas(play)
    click(play, "play")
    says(play, "Step [1-9]")
    play.wait_for_timeout(3000)
    click(play, "pause")
    says(play, "Paused")
    at, played = python(play, "print(p.trainer.steps)"), canvas(play)
    assert difference(before, played) > 1
    play.wait_for_timeout(700)
    assert python(play, "print(p.trainer.steps)") == at and difference(played, canvas(play)) == 0
    play.locator("[data-name=rewind]").press("Home")
    says(play, "Step 0\\.")
    assert difference(before, canvas(play)) == 0  # the same picture, to the pixel
    click(play, "step_d")
    says(play, "Step 0.*Paused")
    assert python(play, "print(p.trainer.steps, p.events, len(p.moments))") == "0 [(0, 'd')] 2"
    assert play.locator("[data-name=line]").input_value() == "@0:d"
    fakes = "print(p.moments[0][1][0]['fake'].sum() == p.moments[1][1][0]['fake'].sum(), (p.moments[0][1][0]['heat'] == p.moments[1][1][0]['heat']).all())"
    assert python(play, fakes) == "True False"  # D has moved, G has not
    assert not play.errors


def test_layers_and_lessons_and_lines(play):
    line = play.locator("[data-name=line]")
    line.fill("@100"); line.press("Enter")
    says(play, "Step 100")
    whole = canvas(play)
    for layer in ("real", "fake", "heat", "manifold", "push"):
        play.locator(f"[data-name={layer}]").uncheck()
        play.wait_for_timeout(300)
        assert difference(whole, canvas(play)) > 0.01, layer
        play.locator(f"[data-name={layer}]").check()
    assert difference(whole, canvas(play)) == 0
    play.locator("[data-name=lesson]").select_option("WGAN cures it")
    says(play, "What to look for")
    assert play.locator("[data-name=penalty]").input_value() == "gradient_penalty" and play.locator("[data-name=n_d]").input_value() == "5"
    line.fill("data=moons @20:d @30"); line.press("Enter")
    says(play, "Step 30")
    assert python(play, "print(p.settings.data, p.events)") == "moons [(20, 'd')]"
    line.fill("objective=hing"); line.press("Enter")
    says(play, "did you mean 'hinge'")
    assert line.input_value() == "data=moons @20:d @30"  # the mistake is gone, the game is not
    play.locator("[data-name=speed]").select_option("5 steps a second")
    click(play, "play")
    line.fill("data=mo")
    play.wait_for_timeout(2000)
    line.press_sequentially("ons")
    assert line.input_value() == "data=moons"  # nobody types over a reader, though the game is played
    assert 31 <= int(python(play, "print(p.trainer.steps)")) <= 60


def test_points_drawn_by_mouse_and_by_keyboard_are_the_data(play):
    play.locator("[data-name=data]").select_option("drawn")
    says(play, "Draw real points")
    play.locator("canvas").scroll_into_view_if_needed()
    box = play.locator("canvas").bounding_box()
    at = lambda x, y: (box["x"] + (x / 1.6 + 1) * box["width"] / 2, box["y"] + (1 - y / 1.6) * box["height"] / 2)
    play.mouse.move(*at(-1, 0.8)); play.mouse.down(); play.mouse.move(*at(1, 0.8), steps=20); play.mouse.up()
    says(play, "^Step 0")
    play.wait_for_timeout(500)
    stroke = eval(python(play, "print((p.settings.data, p.ink.min(0)[0].tolist(), p.ink.max(0)[0].tolist(), p.real[:, 1].mean().item()))"))
    assert stroke[0] == "drawn" and stroke[1] == pytest.approx([-1, 0.8], abs=0.06) and stroke[2] == pytest.approx([1, 0.8], abs=0.06) and stroke[3] == pytest.approx(0.8, abs=0.05)
    n = int(python(play, "print(len(p.ink))"))
    play.locator("canvas").focus()
    for key in ("ArrowDown", "Shift+ArrowLeft", " "): play.keyboard.press(key)
    play.wait_for_timeout(1000)
    assert eval(python(play, "print(len(p.ink), ',', p.ink[-1].tolist())")) == (n + 1, [pytest.approx(-0.2, abs=0.01), pytest.approx(-0.05, abs=0.01)])
    click(play, "play")
    says(play, "Step [1-9]")
    assert not play.errors


def test_everybody_can_use_it(play):
    "Names, descriptions, focus, a small screen, a dark page."
    nameless = """() => [...document.querySelectorAll('.ganlab button, .ganlab input, .ganlab select, .ganlab canvas, .ganlab img')].filter(n =>
      !(n.labels?.[0]?.textContent || n.textContent || n.getAttribute('aria-label') || n.alt).trim() || (n.dataset.name && !n.title)).map(n => n.outerHTML)"""
    assert play.evaluate(nameless) == []
    play.locator("[data-name=play]").focus()
    for name in ("pause", "step_d", "step_g", "restart", "speed", "rewind"):
        play.keyboard.press("Tab")
        seen = play.evaluate("() => [document.activeElement.dataset.name, getComputedStyle(document.activeElement).outlineStyle, parseFloat(getComputedStyle(document.activeElement).outlineWidth)]")
        assert seen[0] == name and seen[1] == "solid" and seen[2] >= 2
    corner = "() => [...document.querySelector('canvas').getContext('2d').getImageData(3, 3, 1, 1).data].slice(0, 3)"
    play.locator("[data-name=heat]").uncheck()
    play.wait_for_timeout(500)
    assert play.evaluate(corner) == [255, 255, 255]
    play.evaluate("() => window.jupyterapp.commands.execute('apputils:change-theme', { theme: 'JupyterLab Dark' })")
    play.wait_for_function(f"() => Math.max(...({corner})()) < 60", timeout=60_000)
    play.set_viewport_size(dict(width=400, height=900))
    play.wait_for_timeout(1000)
    assert play.evaluate("() => { const o = document.querySelector('.jp-OutputArea-output:has(.ganlab)'); return o.scrollWidth <= o.clientWidth }")
    assert play.evaluate("() => [...document.querySelectorAll('.ganlab *')].filter(n => n.getBoundingClientRect().right > innerWidth && !n.closest('.ganlab-quiet')).length") == 0
    play.evaluate("() => window.jupyterapp.commands.execute('apputils:change-theme', { theme: 'JupyterLab Light' })")
    assert play.inner_text(".ganlab-quiet").startswith("Step 0") and play.get_attribute(".ganlab-quiet", "aria-live") == "polite"


def test_reduced_motion_is_respected(lab, browser):
    page = open_notebook(lab, browser, "calm.ipynb", GAME, "live", reduced_motion="reduce")
    page.wait_for_selector("[data-name=play]")
    page.wait_for_timeout(1000)
    assert python(page, "print(live.panel.reduced)") == "True"
    click(page, "play")
    page.wait_for_timeout(5000)
    drawn = int(python(page, "print(len(live.past))"))
    python(page, "trainer.stop()")
    assert 2 <= drawn <= 5  # at most one picture in two seconds
    page.close()


def test_a_recording_plays_without_a_kernel(browser, tmp_path):
    "The canvas's module alone, on a bare page, from the file that `export` writes."
    import json
    from pathlib import Path

    import ganlab
    from ganlab.playground import Playground

    playground = Playground()
    playground.trainer.fit(20)
    recording = playground.export(tmp_path / "game.json").read_text()
    page = browser.new_page()
    page.set_content("<canvas width=320 height=320></canvas>")
    module = (Path(ganlab.__file__).parent / "playground.js").read_text()
    page.evaluate("async ([module, recording]) => { window.stage = await import(URL.createObjectURL(new Blob([module], { type: 'text/javascript' }))); window.game = JSON.parse(recording) }", [module, recording])
    shown = lambda i, *layers: page.evaluate("""([i, layers]) => { const c = document.querySelector('canvas'); stage.draw(c, game.scene, game.frames.at(i), layers, stage.look(c));
      return Array.from(c.getContext('2d').getImageData(0, 0, 320, 320).data) }""", [i, list(layers)])
    colored = lambda pixels, rgb: sum(pixels[k : k + 3] == rgb for k in range(0, len(pixels), 4))
    blank, real, fake = shown(0), shown(0, "real"), shown(0, "fake")
    assert colored(blank, [255, 255, 255]) == 320 * 320
    assert colored(real, [0x00, 0x72, 0xB2]) > 500 and colored(real, [0xD5, 0x5E, 0x00]) == 0
    assert colored(fake, [0xD5, 0x5E, 0x00]) > 100 and colored(fake, [0x00, 0x72, 0xB2]) == 0
    assert difference(shown(0, "fake", "heat", "manifold", "push"), shown(-1, "fake", "heat", "manifold", "push")) > 1
    x, y = playground.real[0].tolist()  # a real point is where it should be, y upwards
    i = 4 * (320 * round((1.6 - y) * 100) + round((x + 1.6) * 100))
    assert real[i : i + 3] == pytest.approx([0x00, 0x72, 0xB2], abs=8)
    assert json.loads(recording)["frames"][-1]["sentence"] == playground.stage.alt
    page.close()


def test_without_its_token_the_server_gives_nothing(lab):
    with pytest.raises(urllib.error.HTTPError, match="403"): urllib.request.urlopen(f"{lab[1]}/api/contents", timeout=30)
