"Two processes on the CPU play the game of one with twice the batch."
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from ganlab.checkpoint import newest
from ganlab.runs import read_log

SCRIPT = Path(__file__).parent / "two_processes.py"


def launch(processes, *words):
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)] if processes > 1 else []
    env = {**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    done = subprocess.run([sys.executable, *launcher, *map(str, words)], env=env, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_game_with_a_double_backward_and_half_turns(tmp_path):
    launch(1, SCRIPT, tmp_path / "one.pt", 32)
    launch(2, SCRIPT, tmp_path / "two.pt", 16)
    one, two = (torch.load(tmp_path / f"{name}.pt", weights_only=True) for name in ("one", "two"))
    assert (one["processes"], two["processes"]) == (1, 2) and two["in_step"] and two["streams"] == 2 and one["position"] == two["position"]
    torch.testing.assert_close(one["weights"], two["weights"], atol=2e-5, rtol=1e-4)
    torch.testing.assert_close(one["losses"], two["losses"], atol=1e-5, rtol=1e-4)


def test_a_run_by_torchrun_equals_one_process_and_resumes(tmp_path):
    words = lambda out, batch, *more: ["-m", "ganlab", "train", "mlp", "--data", "digits", "--device", "cpu", "--batch", batch, "--out", tmp_path / out,
                                       "--set", "hidden=[32]", "--set", "dropout=0.0", "--set", "every=10", "--set", "metrics=fd", *more]
    launch(1, *words("one", 32, "--steps", 30))
    text = launch(2, *words("two", 16, "--steps", 20))
    assert text.count("20 steps, saved") == 1  # one process speaks, one writes
    launch(2, "-m", "ganlab", "train", "--resume", "--out", tmp_path / "two", "--device", "cpu", "--steps", 30)
    one, two = (newest(tmp_path / name / "checkpoints")[1] for name in ("one", "two"))
    for name, value in one["gan"].items():
        if isinstance(value, torch.Tensor): torch.testing.assert_close(value, two["gan"][name], atol=2e-5, rtol=1e-3)
    assert [r["step"] for r in read_log(tmp_path / "two/log.jsonl")] == list(range(1, 31))
    a, b = (json.loads((tmp_path / name / "scores.json").read_text()) for name in ("one", "two"))  # one process measures, all keep the best
    assert [r["step"] for r in a] == [r["step"] for r in b] == [10, 20, 30] and newest(tmp_path / "two/best")[1]["steps"] == newest(tmp_path / "one/best")[1]["steps"]


def test_a_notebooks_launcher_starts_two(tmp_path):
    "What the chapter says about accelerate's launchers, with the one that works without GPUs."
    script = tmp_path / "notebook.py"
    script.write_text(f"""
from accelerate import debug_launcher
from ganlab.runs import start

def training():
    trainer = start({str(tmp_path / 'run')!r}, dict(name="mlp", hidden=[16]), dict(name="digits"), batch_size=8, device="cpu").fit(10)
    assert trainer.accelerator.num_processes == 2

if __name__ == "__main__": debug_launcher(training, num_processes=2)
""")
    launch(1, script)
    assert newest(tmp_path / "run/checkpoints")[1]["steps"] == 10


def test_a_run_of_two_refuses_to_go_on_alone(tmp_path):
    words = ["-m", "ganlab", "train", "mlp", "--data", "digits", "--device", "cpu", "--batch", 8, "--out", tmp_path / "r", "--set", "hidden=[8]", "--steps", 5]
    launch(2, *words)
    done = subprocess.run([sys.executable, "-m", "ganlab", "train", "--resume", "--out", str(tmp_path / "r"), "--steps", "9"], capture_output=True, text=True)
    assert done.returncode == 1 and "of 2 process" in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize("rank, value", [(0, "nan"), (1, "nan")])
def test_a_nan_in_one_process_stops_both(tmp_path, rank, value):
    script = tmp_path / "poison.py"
    script.write_text(f"""
import torch, sys
from accelerate import Accelerator
from torch import nn
from ganlab.data import toy
from ganlab.gan import GAN
from ganlab.trainer import Trainer, leave
a = Accelerator(cpu=True)
bad = lambda D, real, fake: D(real).mean() * (float("{value}") if trainer.steps == 3 and a.process_index == {rank} else 0.0)
trainer = Trainer(GAN(nn.Linear(2, 2), nn.Linear(2, 1), 2, penalties={{"bad": bad}}), toy("ring", 100), 10, accelerator=a)
try: trainer.fit(10)
except FloatingPointError as error: print("stopped:", error)
leave(a)
""")
    assert launch(2, script).count("Its weights were not moved") == 2
