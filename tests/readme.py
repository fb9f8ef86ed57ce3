"""README.md from nbs/index.ipynb: python tests/readme.py. (nbdev would ask Quarto for this.)"""
import base64
import re
from pathlib import Path

import nbformat

ROOT = Path(__file__).parent.parent
PICTURE = "nbs/images/first-look.png"


def readme() -> tuple[str, bytes]:
    "The text of README.md and the bytes of its picture, from the index's cells and their stored outputs."
    parts, picture = [], b""
    for cell in nbformat.read(ROOT / "nbs/index.ipynb", as_version=4).cells:
        if cell.cell_type == "markdown":
            parts.append(re.sub(r"\]\((\w+\.ipynb|images/[\w-]+\.png)\)", r"](nbs/\1)", cell.source))
            continue
        alt = re.search(r'#\| fig-alt: "(.*)"\n', cell.source)
        source = re.sub(r"#[|].*\n", "", cell.source)
        parts.append(f"```python\n{source}\n```")
        for output in cell.outputs:
            if image := output.get("data", {}).get("image/png"):
                picture = base64.b64decode(image)
                parts.append(f"![{alt[1]}]({PICTURE})")
    return "\n\n".join(parts) + "\n", picture


if __name__ == "__main__":
    text, picture = readme()
    (ROOT / "README.md").write_text(text, encoding="utf-8")
    (ROOT / PICTURE).parent.mkdir(exist_ok=True)
    (ROOT / PICTURE).write_bytes(picture)
