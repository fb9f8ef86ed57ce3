"The house is in order: what is exported, stored, shown and imported is what the notebooks say."
import ast
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from readme import PICTURE, readme

ROOT = Path(__file__).parent.parent
CHAPTERS = sorted((ROOT / "nbs").rglob("*.ipynb"))
MODULES = [p for p in sorted((ROOT / "ganlab").rglob("*.py")) if p.name not in ("_modidx.py", "__init__.py", "__main__.py")]
FLOORS = ["objectives synthetic batches checkpoint threads history lipschitz panel metrics", "randomness folder augment", "data gan", "latent trainer viz digits_network", "features similarity", "models", "callbacks live plane evaluate explorer", "runs playground", "report reproduce export", "cli"]

chapters = pytest.mark.parametrize("path", CHAPTERS, ids=lambda p: p.stem)
modules = pytest.mark.parametrize("path", MODULES, ids=lambda p: p.stem)


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    "A copy of what nbdev reads and writes, so that checking changes nothing."
    copy = tmp_path_factory.mktemp("house") / "copy"
    copy.mkdir()
    for name in ("settings.ini", "README.md", "_quarto.yml"): shutil.copy(ROOT / name, copy)
    for name in ("nbs", "ganlab"): shutil.copytree(ROOT / name, copy / name, symlinks=True, ignore=shutil.ignore_patterns("runs", "__pycache__"))
    return copy


def nbdev(command, where):
    done = subprocess.run([Path(sys.executable).parent / command], cwd=where, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_library_is_in_step_with_the_notebooks(copy):
    for old in MODULES: (copy / old.relative_to(ROOT)).unlink()
    nbdev("nbdev_export", copy)
    for file in (ROOT / "ganlab").rglob("*.py"):
        again = copy / file.relative_to(ROOT)
        assert again.exists() and again.read_text() == file.read_text(), f"{file.name} is not what the notebooks export: run nbdev_export"


def test_notebooks_are_clean(copy):
    nbdev("nbdev_clean", copy)
    dirty = [p.name for p in CHAPTERS if (copy / p.relative_to(ROOT)).read_text() != p.read_text()]
    assert not dirty, f"run nbdev_clean: {dirty}"


def test_readme_is_the_index():
    text, picture = readme()
    assert (ROOT / "README.md").read_text() == text and (ROOT / PICTURE).read_bytes() == picture, "run python tests/readme.py"


def test_data_cards_are_the_catalog():
    from ganlab.data import cards

    assert cards() in (ROOT / "data/README.md").read_text()


def test_every_chapter_is_in_the_sidebar():
    listed = re.findall(r"[\w/]+\.ipynb", (ROOT / "nbs/sidebar.yml").read_text())
    assert sorted(listed) == [p.relative_to(ROOT / "nbs").as_posix() for p in CHAPTERS]


def test_quarto_finds_its_settings_where_nbdev_looks():
    assert (ROOT / "nbs/_quarto.yml").resolve() == ROOT / "_quarto.yml"


@chapters
def test_chapter_was_run_and_describes_its_pictures(path):
    cells = nbformat.read(path, as_version=4).cells
    code = [c for c in cells if c.cell_type == "code" and c.source.strip()]
    outputs = [(c, o) for c in code for o in c.outputs]
    assert outputs, "no output is stored: run python tests/execute.py"
    assert not [o for _, o in outputs if o.output_type == "error"]
    for cell, output in outputs:
        if "image/png" in output.get("data", {}): assert "#| fig-alt:" in cell.source, f"no fig-alt: {cell.source[:80]}"


@chapters
def test_chapter_opens_as_agreed(path):
    first, second, *_ = nbformat.read(path, as_version=4).cells
    assert re.fullmatch(r"# .+\n\n> .+", first.source), "the first cell is a title and a one-line subtitle, nothing else"
    if path.stem != "index": assert "**You will be able to**" in second.source and "**Time:**" in second.source and "**Builds on:**" in second.source


@chapters
def test_links_between_chapters_lead_somewhere(path):
    text = "".join(c.source for c in nbformat.read(path, as_version=4).cells if c.cell_type == "markdown")
    for target in re.findall(r"\]\((?!http)([^)#]+)", text): assert (path.parent / target).exists(), target


@modules
def test_functions_stay_small_and_public_names_are_documented(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, (ast.FunctionDef, ast.ClassDef)): continue
        if isinstance(node, ast.FunctionDef): assert node.end_lineno - node.lineno < 40, f"{node.name} is too long"
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)): assert ast.get_docstring(node), f"{node.name} has no docstring"
    assert path.read_text().count("\n") < 350


@modules
def test_imports_point_downwards(path):
    floor = {name: i for i, names in enumerate(FLOORS) for name in names.split()}
    inside = 1 if path.parent.name == "models" else 0  # a module of models may use its siblings
    own, top = ("models", 2) if inside else (path.stem, 1)
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, ast.ImportFrom) or node.level not in (0, top): continue
        module = (node.module or "").split(".")
        if node.level == 0 and module.pop(0) != "ganlab": continue
        for name in module[:1] if any(module) else [a.name for a in node.names]:
            if name in floor and name != own: assert floor[name] < floor[own], f"{own} imports {name} from above"


def test_importing_the_package_is_cheap():
    look = "import ganlab, sys; print([m for m in ('torchvision', 'matplotlib', 'ipywidgets', 'accelerate', 'sklearn') if m in sys.modules])"
    assert subprocess.check_output([sys.executable, "-c", look], text=True).strip() == "[]"


def test_nothing_names_an_index_or_a_machine():
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    for name in tracked:
        if Path(name).suffix in (".png", ".pt") or Path(name) == Path("tests/test_house.py"): continue
        assert not re.search(r"index-url\s*[= ]|/home/\w|/root/", (ROOT / name).read_text()), name
