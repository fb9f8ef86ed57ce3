"""Run chapters from a fresh kernel and store their outputs, clean: python tests/execute.py [nbs/10_data.ipynb ...]"""
import subprocess
import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient

chapters = [Path(p) for p in sys.argv[1:]] or sorted(Path("nbs").rglob("*.ipynb"))
for path in chapters:
    notebook = nbformat.read(path, as_version=4)
    NotebookClient(notebook, timeout=600, resources={"metadata": {"path": path.parent}}).execute()
    notebook.metadata.pop("widgets", None)  # state without a kernel is dead weight; the picture stays
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            if "image/png" in output.get("data", {}): output["data"].pop("application/vnd.jupyter.widget-view+json", None)
    nbformat.write(notebook, path)
    subprocess.run([Path(sys.executable).with_name("nbdev_clean"), "--fname", str(path)], check=True)
    print("ran", path, flush=True)
