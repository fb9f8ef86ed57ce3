"Runs: kills, interrupts, damage, strangers, and the same bits from every side."
import json
import os
import random
import signal
import subprocess
import sys
import time

import pytest
import torch

import ganlab
from conftest import equal
from ganlab.checkpoint import checkpoints, newest
from ganlab.runs import read_log, resume, start

SMALL = dict(model=dict(name="mlp", hidden=[32, 64]), data=dict(name="digits"), batch_size=32, every=20, ema=0.9, device="cpu")
WORDS = ["train", "mlp", "--data", "digits", "--batch", "32", "--device", "cpu", "--set", "hidden=[32,64]", "--set", "every=20", "--set", "ema=0.9"]


def ganlab_process(*words, **kwargs):
    return subprocess.Popen([sys.executable, "-m", "ganlab", *map(str, words)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                            env={**os.environ, "OMP_NUM_THREADS": "1"}, **kwargs)


def ganlab_runs(*words):
    process = ganlab_process(*words)
    text, _ = process.communicate(timeout=600)
    return process.returncode, text


def same_run(a, b, steps):
    "Equal states and equal logs, but for the clock."
    (_, x), (_, y) = newest(a / "checkpoints"), newest(b / "checkpoints")
    logs = [[{**row, "seconds": 0} for row in read_log(f / "log.jsonl")] for f in (a, b)]
    return x["steps"] == steps and equal({**x, "seconds": 0}, {**y, "seconds": 0}) and logs[0] == logs[1] and len(logs[0]) == steps


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    "Two thousand steps in one go, in this process."
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("whole") / "run"
    start(folder, **SMALL).fit(2000)
    return folder


def test_killed_at_random_moments_and_resumed_from_both_sides(tmp_path, whole):
    "kill -9 three times at random moments, resume from the command line, finish in a notebook's way: the same bits."
    out, rng = tmp_path / "run", random.Random(time.time_ns())
    process, kills = ganlab_process(*WORDS, "--out", out, "--steps", 2000), 0
    while kills < 3:
        until, deadline = len(read_log(out / "log.jsonl")) + rng.randrange(5, 300), time.time() + 300
        while len(read_log(out / "log.jsonl")) < until and process.poll() is None and time.time() < deadline: time.sleep(0.003)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        kills += 1
        if not checkpoints(out / "checkpoints"): assert kills == 1 and (out / "config.json").exists()
        if kills < 3: process = ganlab_process("train", "--resume", "--out", out, "--device", "cpu", "--steps", 2000)
    trainer = resume(out, device="cpu")
    assert 0 < trainer.steps < 2000
    trainer.fit(2000 - trainer.steps)
    assert same_run(out, whole, 2000)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_saves_and_says_how_to_go_on(tmp_path, number):
    out = tmp_path / "run"
    process = ganlab_process(*WORDS, "--out", out, "--steps", 10**6)
    wait_for(lambda: len(read_log(out / "log.jsonl")) >= 30, process)
    process.send_signal(number)
    text, _ = process.communicate(timeout=300)
    steps = newest(out / "checkpoints")[1]["steps"]
    assert process.returncode == 130 and f"stopped after step {steps}" in text and f"ganlab train --resume --out {out} --steps 1000000" in text
    assert len(read_log(out / "log.jsonl")) == steps


def test_a_second_process_is_refused(tmp_path):
    out = tmp_path / "run"
    first = ganlab_process(*WORDS, "--out", out, "--steps", 10**6)
    wait_for(lambda: checkpoints(out / "checkpoints"), first)
    code, text = ganlab_runs("train", "--resume", "--out", out, "--steps", 10**6)
    assert code == 1 and "is being trained by another process" in text and "Traceback" not in text
    assert first.poll() is None
    first.kill(); first.communicate()


def test_a_poisoned_run_keeps_its_last_good_checkpoint(tmp_path):
    from ganlab.trainer import Callback
    class Poison(Callback):
        def after_step(self, trainer):
            if trainer.steps == 40: torch.nn.init.constant_(trainer.gan.generator[0].weight, float("nan"))
    trainer = start(tmp_path / "run", **SMALL)
    trainer.callbacks.insert(0, Poison())  # before the checkpoint of the same step
    with pytest.raises(FloatingPointError, match="step 40: generator.0.weight is not finite; no checkpoint was written"): trainer.fit(60)
    assert newest(tmp_path / "run/checkpoints")[1]["steps"] == 20 and resume(tmp_path / "run").steps == 20


def test_one_line_gives_the_generator_back(whole):
    "In another process, with nothing but the folder."
    look = f"import torch; torch.set_num_threads(1); import ganlab; print(ganlab.load({str(whole)!r}).sample(2, seed=0).sum().item())"
    assert float(subprocess.check_output([sys.executable, "-c", look], text=True)) == ganlab.load(whole).sample(2, seed=0).sum().item()


def test_a_strangers_checkpoint_does_not_run(tmp_path, whole):
    import shutil
    from ganlab.checkpoint import digest
    class Hostile:
        def __reduce__(self): return os.system, (f"touch {tmp_path / 'owned'}",)
    shutil.copytree(whole, tmp_path / "run")
    evil = tmp_path / "run/checkpoints/evil.pt"
    torch.save({"gan": Hostile()}, evil)
    evil.rename(evil.with_name(f"step-99999999-{digest(evil)}.pt"))
    with pytest.warns(UserWarning, match="more than plain data"): gan = ganlab.load(tmp_path / "run")
    assert equal(gan.sample(2, seed=0), ganlab.load(whole).sample(2, seed=0)) and not (tmp_path / "owned").exists()


@pytest.mark.parametrize("model", ["os", "../mlp", "mlp.mlp", "__init__", ""])
def test_a_strangers_config_builds_library_models_only(tmp_path, whole, model):
    import shutil
    shutil.copytree(whole, tmp_path / "run")
    config = json.loads((tmp_path / "run/config.json").read_text())
    config["model"]["name"] = model
    (tmp_path / "run/config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match="no model"): ganlab.load(tmp_path / "run")


def wait_for(ready, process):
    "Wait until `ready()`, as long as the process lives."
    deadline = time.time() + 300
    while not ready():
        assert process.poll() is None and time.time() < deadline, process.communicate()[0]
        time.sleep(0.05)


def test_a_run_equals_a_bare_trainer(tmp_path):
    "Every listener on, or none: the same bits."
    from ganlab.callbacks import EMA, Progress
    from ganlab.data import load
    from ganlab.runs import build
    from ganlab.trainer import Trainer
    run = start(tmp_path / "run", **{**SMALL, "every": 5})
    run.callbacks.append(Progress(total=20))
    torch.manual_seed(0)
    bare = Trainer(build("mlp", hidden=[32, 64], size=8, channels=1), load("digits"), 32, callbacks=[EMA(0.9)])
    assert equal(run.fit(20).gan.state_dict(), bare.fit(20).gan.state_dict())


def test_two_starts_at_once_make_one_run(tmp_path):
    out = tmp_path / "run"
    both = [ganlab_process(*WORDS, "--out", out, "--steps", "20", "--seed", seed) for seed in (1, 2)]
    texts = [p.communicate(timeout=300)[0] for p in both]
    assert sorted(p.returncode for p in both) == [0, 1] and "Traceback" not in "".join(texts)
    winner = [p.returncode for p in both].index(0) + 1
    assert json.loads((out / "config.json").read_text())["training"]["seed"] == winner and ganlab.load(out).sample(1).shape == (1, 1, 8, 8)


def test_a_folder_named_like_a_set_is_not_taken_for_it(tmp_path, monkeypatch):
    (tmp_path / "digits").mkdir()
    monkeypatch.chdir(tmp_path)
    start("run", **SMALL)
    assert json.loads((tmp_path / "run/config.json").read_text())["data"]["name"] == "digits"


def test_only_session_options_change_on_resume(whole):
    with pytest.raises(ValueError, match="a run keeps its batch_size"): resume(whole, batch_size=7)
    with pytest.raises(ValueError, match="every must be a whole number from 1, not 0"): resume(whole, every=0)


@pytest.mark.full
def test_the_demos_digits_are_digits(tmp_path):
    "A classifier fitted on real digits is sure of most of them and finds at least eight classes."
    from sklearn.linear_model import LogisticRegression
    from ganlab.data import load
    code, text = ganlab_runs("demo", "--out", tmp_path / "demo")
    assert code == 0, text
    data = load("digits", 16)
    judge = LogisticRegression(max_iter=2000).fit(data[:].flatten(1).numpy(), data.labels.numpy())
    belief = judge.predict_proba(ganlab.load(tmp_path / "demo").sample(500, seed=0).flatten(1).numpy())
    sure = belief.max(1) > 0.9
    assert sure.mean() > 0.6 and len(set(belief[sure].argmax(1))) >= 8


def test_demo_writes_its_report(tmp_path):
    code, text = ganlab_runs("demo", "--out", tmp_path / "demo", "--steps", "60")
    assert code == 0 and "report.html" in text.splitlines()[-2] and "make lab" in text.splitlines()[-1], text
    from PIL import Image
    with Image.open(tmp_path / "demo/walk.gif") as film: assert film.n_frames == 48
    assert all((tmp_path / "demo" / name).exists() for name in ("samples.png", "losses.png", "report.html"))
    code, text = ganlab_runs("demo", "--out", tmp_path / "demo", "--steps", "60")
    assert code == 0 and "60 steps, saved" in text


def test_photographs_and_mnist_train_from_the_command_line(real_data, tmp_path):
    code, text = ganlab_runs("train", "mlp", "--data", real_data / "100-shot-panda", "--size", "32", "--steps", "10", "--out", tmp_path / "p")
    assert code == 0 and ganlab.load(tmp_path / "p").sample(2).shape == (2, 3, 32, 32), text
    code, text = ganlab_runs("train", "mlp", "--data", "mnist", "--steps", "10", "--out", tmp_path / "m")
    assert code == 0 and ganlab.load(tmp_path / "m").sample(2).shape == (2, 1, 28, 28), text


@pytest.mark.full
def test_mnist_is_learned(real_data, tmp_path):
    "3,000 steps: the fakes lie much nearer to the reals than noise does, and are not all alike."
    code, text = ganlab_runs("train", "mlp", "--data", "mnist", "--steps", "3000", "--out", tmp_path / "m")
    assert code == 0, text
    real, fake = ganlab.data.load("mnist", root=real_data)[:2000].flatten(1), ganlab.load(tmp_path / "m").sample(500, seed=0).flatten(1)
    assert torch.cdist(fake, real).min(1).values.mean() < 12 and fake.std(0).mean() > 0.6 * real.std(0).mean()
