"The latent explorer: every control, by keyboard, in a browser; and for every game of images that there is."
import statistics

import pytest
import torch

from ganlab.explorer import LatentExplorer, PATHS
from ganlab.models.mlp import points
from ganlab.runs import build, makers
from test_widgets import PIXELS, browser, click, difference, lab, open_notebook, press, python, says  # noqa: F401 (fixtures)

SMALL = dict(fastgan=dict(size=32), projected=dict(size=32, channels=3))
DCGAN = """
import torch
from ganlab.explorer import LatentExplorer
from ganlab.models.dcgan import dcgan
torch.manual_seed(0)
gan = dcgan(64, 3)
gan.sample(1)
for layer in gan.generator.modules():  # an untrained game draws grey: give it some contrast
    if isinstance(layer, torch.nn.ConvTranspose2d): torch.nn.init.normal_(layer.weight, 0, 0.05)
explorer = LatentExplorer(gan)
"""


def seen(page, n=1): page.wait_for_timeout(400); return page.evaluate(PIXELS, f".ganlab-pictures img:nth-child({n})")


@pytest.fixture(scope="module")
def walk(lab, browser):
    page = open_notebook(lab, browser, "explorer.ipynb", DCGAN, "explorer")
    page.wait_for_selector("[data-name=t]")
    yield page
    assert not page.errors
    page.close()


def test_a_slider_is_answered_quickly(walk):
    "From key press to decoded pixels of a 64x64 DCGAN of full width; the goal is a median under 80 ms on two quiet cores."
    walk.evaluate("() => { window.picture = document.querySelector('.ganlab img'); window.T = [];"
                  "picture.addEventListener('load', () => picture.decode().then(() => T.push(performance.now()))); document.addEventListener('keydown', () => { window.K = performance.now() }, true) }")
    before, times = seen(walk), []
    for _ in range(30):
        n = walk.evaluate("T.length")
        walk.locator("[data-name=t]").press("ArrowRight")
        walk.wait_for_function("n => T.length > n", arg=n, timeout=60_000, polling=5)
        times.append(walk.evaluate("n => T[n] - K", n))
    print(f"slider to pixels: median {statistics.median(times):.0f} ms, longest {max(times):.0f} ms")
    assert difference(before, seen(walk)) > 1
    says(walk, "^30% of the great circle")
    assert statistics.median(times) < 800  # ten times the goal: this machine may be busy


def test_corners_are_chosen_by_thumbnail_and_by_arrow_key(walk):
    first = seen(walk)
    walk.locator("[data-name=from]").nth(3).check(force=True)
    says(walk, "from seed 3 to seed 1")
    assert difference(first, seen(walk)) > 1
    walk.locator("[data-name=from]").nth(3).press("ArrowRight")
    says(walk, "from seed 4 to seed 1")
    walk.locator("[data-name=lock]").check()
    thumbs = walk.evaluate("() => [...document.querySelectorAll('.ganlab-thumbs img')].map(i => i.src)")
    click(walk, "other_seeds")
    says(walk, "from seed 4 to seed 1")
    walk.wait_for_function("old => document.querySelectorAll('.ganlab-thumbs img')[0].src !== old", arg=thumbs[0])
    labels = walk.evaluate("() => [...document.querySelectorAll('.ganlab-thumbs input')].map(i => i.ariaLabel)")
    assert labels[:8] == ["from seed 8", "from seed 9", "from seed 10", "from seed 11", "from seed 4", "from seed 13", "from seed 14", "from seed 15"]
    walk.locator("[data-name=lock]").uncheck()
    click(walk, "other_seeds")
    says(walk, "from seed 20 to seed 17")


def test_freeze_directions_and_reset(walk):
    walk.locator("[data-name=t]").press("Home")
    says(walk, "^0%")
    still = seen(walk)
    walk.locator("[data-name=freeze]").check()
    says(walk, "0.00 from the picture that was kept")
    assert difference(seen(walk, 2), still) == 0
    moved = press(walk, "[data-name=direction_1]", "ArrowRight", r"direction 1 at \+0.1")
    assert difference(moved, still) > 0 and difference(seen(walk, 2), still) == 0
    press(walk, "[data-name=truncation]", "ArrowLeft", "truncation 0.95")
    click(walk, "reset")
    walk.wait_for_function("() => !/truncation|direction/.test(document.querySelector('.ganlab-sentence').textContent)")
    assert difference(seen(walk), still) == 0
    walk.locator("[data-name=freeze]").uncheck()
    walk.wait_for_function("() => document.querySelectorAll('.ganlab-pictures img').length === 2")
    walk.locator("[data-name=path]").select_option("straight line in Z")
    says(walk, "straight line")


def test_code_is_copied_and_files_are_saved(walk, tmp_path):
    walk.context.grant_permissions(["clipboard-read", "clipboard-write"])
    click(walk, "copy_as_code")
    walk.wait_for_function("() => /copied/.test(document.querySelector('.ganlab').textContent)")
    copied = walk.evaluate("() => navigator.clipboard.readText()")
    *lines, last = copied.splitlines()
    assert last.startswith("show(gan.sample(point)") and python(walk, "\n".join(lines) + "\nprint(torch.equal(gan.sample(point), explorer.image()))") == "True"
    for kind, head in (("PNG", b"\x89PNG"), ("GIF", b"GIF89a")):
        with walk.expect_download() as download: click(walk, f"save_{kind}")
        download.value.save_as(tmp_path / "file")
        assert download.value.suggested_filename.endswith(kind.lower()) and (tmp_path / "file").read_bytes().startswith(head)


def test_everybody_can_use_it(walk):
    nameless = """() => [...document.querySelectorAll('.ganlab button, .ganlab input, .ganlab select, .ganlab-pictures img')].filter(n =>
      !(n.labels?.[0]?.textContent || n.textContent || n.getAttribute('aria-label') || n.alt).trim() || (n.dataset.name && !n.title)).map(n => n.outerHTML)"""
    assert walk.evaluate(nameless) == []
    walk.set_viewport_size(dict(width=400, height=900))
    walk.wait_for_timeout(1000)
    assert walk.evaluate("() => [...document.querySelectorAll('.ganlab *')].filter(n => n.getBoundingClientRect().right > innerWidth && !n.closest('.ganlab-quiet, pre')).length") == 0
    walk.set_viewport_size(dict(width=1300, height=1000))


@pytest.mark.parametrize("name", makers())
def test_every_game_of_images_can_be_explored(name):
    torch.manual_seed(0)
    explorer = LatentExplorer(gan := build(name, **{**dict(size=16, channels=1), **SMALL.get(name, {})}), seeds=3, directions=2)
    before = explorer.image()
    moves = dict(t=0.5, truncation=0.7, direction_1=2.0, mix_from=1, set_codes=True)
    for control, value in moves.items():
        if control in explorer.panel.values: explorer.panel.touch(control, value)
    assert not torch.equal(before, explorer.image())
    for path in PATHS:
        if path[-1] == "Z" or hasattr(gan, "styles"):
            explorer.panel.touch("path", path)
            space = dict(gan=gan)
            exec(explorer.panel.code.rpartition("\n")[0], space)
            torch.testing.assert_close((gan.styles if hasattr(gan, "styles") else gan).sample(space["point"]), explorer.image(), rtol=0, atol=1e-5)


def test_games_of_points_are_refused():
    with pytest.raises(ValueError, match="this one makes \\(2,\\)"): LatentExplorer(points())
