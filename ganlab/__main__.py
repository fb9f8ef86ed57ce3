from ganlab.cli import app

app(prog_name="ganlab")
