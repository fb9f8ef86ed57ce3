"DCGAN: counts, shapes and first weights by size; schedules that survive a stop; a search that goes on where it was and notes what failed."
import json
import math

import pytest
import torch
from hypothesis import given, settings, strategies as st
from torch import nn
from typer.testing import CliRunner

import ganlab.reproduce as reproduce
from conftest import equal
from ganlab.callbacks import SCHEDULERS, LearningRate
from ganlab.checkpoint import newest
from ganlab.cli import app
from ganlab.data import Folder, Images, load, statistics
from ganlab.models.dcgan import NORMS, dcgan, dcgan_discriminator, dcgan_generator, pyramid
from ganlab.runs import OPTIMIZERS, load as load_run, resume, start
from ganlab.trainer import Trainer
from ganlab.viz import save_grid

count = lambda net: sum(p.numel() for p in net.parameters())
SMALL = dict(model=dict(name="dcgan", width=4, latent_dim=8), data=dict(name="digits", size=16, n=64), batch_size=16, every=10, device="cpu")


def test_counts_are_the_published_ones():
    assert count(dcgan_generator()) == 3_576_704 and count(dcgan_discriminator()) == 2_765_568


@settings(max_examples=12, deadline=None)
@given(st.integers(4, 7), st.sampled_from([1, 3]), st.integers(1, 20), st.integers(1, 6), st.sampled_from(NORMS))
def test_every_size_by_one_rule(power, channels, latent_dim, width, norm):
    size, widths = 2**power, [width * 2**i for i in reversed(range(power - 2))]
    gan = dcgan(size, channels, latent_dim, width, norm)
    assert pyramid(size, width) == widths and gan.sample(2).shape == (2, channels, size, size) and gan.sample(2).abs().max() <= 1
    assert gan.discriminator(torch.zeros(2, channels, size, size)).shape == (2, 1)
    kernels = 16 * sum(i * o for i, o in zip(widths, [*widths[1:], channels]))
    assert count(gan.generator) == kernels + 16 * latent_dim * widths[0] + 2 * sum(widths)
    biases = 2 * sum(widths[:-1]) if norm == "batch" else sum(widths) + 1
    assert count(gan.discriminator) == kernels + 16 * widths[0] + biases


@pytest.mark.parametrize("size", [0, -16, 1, 8, 15, 28, 48, 100])
def test_other_sizes_are_refused_by_both_sides(size):
    for make in (dcgan_generator, dcgan_discriminator, dcgan):
        with pytest.raises(ValueError, match=f"not {size}; load the images with size=(16|32|64|128)"): make(size)


def test_first_weights_are_the_papers():
    torch.manual_seed(0)
    gan = dcgan(64, 3, width=32)
    convolutions = [m.weight for m in gan.modules() if isinstance(m, (nn.Conv2d, nn.ConvTranspose2d))]
    gains = torch.cat([m.weight for m in gan.modules() if isinstance(m, nn.BatchNorm2d)])
    assert len(convolutions) == 10 and all(w.std().item() == pytest.approx(0.02, rel=0.1) and abs(w.mean().item()) < 0.002 for w in convolutions)
    assert gains.mean().item() == pytest.approx(1, abs=0.003) and gains.std().item() == pytest.approx(0.02, rel=0.2)
    assert isinstance(gan.generator[-1], nn.Tanh) and not any(isinstance(m, nn.BatchNorm2d) for m in (gan.generator[-2], gan.discriminator[0], gan.discriminator[1]))


def test_spectral_norm_replaces_batch_norm():
    torch.manual_seed(0)
    D = dcgan(16, 1, width=4, norm="spectral").discriminator
    assert not any(isinstance(m, nn.BatchNorm2d) for m in D.modules())
    for _ in range(60): D(torch.randn(2, 1, 16, 16))
    for layer in D:
        if isinstance(layer, nn.Conv2d): assert torch.linalg.matrix_norm(layer.weight.flatten(1), 2).item() == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize("norm", NORMS)
def test_a_run_goes_on_to_the_same_bits(tmp_path, norm):
    "Running statistics, power iterations, augmentation, a falling rate, another optimizer, and an average: all of it is in the checkpoint."
    words = SMALL | dict(model=SMALL["model"] | dict(norm=norm, augment="translation"), optimizer="nesterov", lr_schedule="cosine", steps=20, ema=0.9)
    start(tmp_path / "whole", **words).fit(20)
    start(tmp_path / "parts", **words).fit(7); resume(tmp_path / "parts").fit(13)
    whole, parts = (newest(tmp_path / name / "checkpoints")[1] for name in ("whole", "parts"))
    assert equal({**whole, "seconds": 0}, {**parts, "seconds": 0})
    assert load_run(tmp_path / "parts").sample(2, seed=0).shape == (2, 1, 16, 16)
    with pytest.raises(ValueError, match="cosine schedule is over at step 20"): resume(tmp_path / "parts").fit(1)


@settings(max_examples=20, deadline=None)
@given(st.sampled_from(list(SCHEDULERS)), st.integers(2, 30), st.data())
def test_rates_depend_on_the_step_alone(name, steps, data):
    stop = data.draw(st.integers(0, steps - 1))
    def trainer():
        torch.manual_seed(0)
        return Trainer(dcgan(16, 1, 4, 2), torch.zeros(4, 1, 16, 16), 2, callbacks=[LearningRate(name, steps)])
    first, second = trainer().fit(stop), trainer()
    second.load_state_dict(first.state_dict()); second.fit(0)
    for side, optimizer in second.optimizers.items():
        rate = optimizer.param_groups[0]["lr"]
        assert rate == first.optimizers[side].param_groups[0]["lr"] == 2e-4 * SCHEDULERS[name](stop / steps)


def test_schedulers_begin_at_one_and_fall():
    for factor in SCHEDULERS.values():
        values = [factor(k / 1000) for k in range(1001)]
        assert values[0] == 1 and values[-1] <= 0.1 + 1e-12 and values == sorted(values, reverse=True)


def test_optimizers_by_name(tmp_path):
    kinds = dict(adam=torch.optim.Adam, rmsprop=torch.optim.RMSprop, sgd=torch.optim.SGD, nesterov=torch.optim.SGD)
    assert kinds.keys() == OPTIMIZERS.keys()
    for name, kind in kinds.items():
        trainer = start(tmp_path / name, **SMALL, optimizer=name, lr_d=0.125).fit(1)
        assert all(type(o) is kind for o in trainer.optimizers.values()) and trainer.optimizers["discriminator"].param_groups[0]["lr"] == 0.125
        assert trainer.optimizers["generator"].param_groups[0].get("nesterov", False) == (name == "nesterov")
    for options, message in ((dict(optimizer="adm"), "no optimizer 'adm': did you mean 'adam'"), (dict(lr_schedule=3), "no lr_schedule '3'")):
        with pytest.raises(ValueError, match=message): start(tmp_path / "bad", **SMALL, **options)


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 9), st.sampled_from([1, 3]), st.integers(1, 20), st.integers(0, 100))
def test_statistics_do_not_depend_on_portions(n, channels, portion, seed):
    x = torch.rand(n, channels, 5, 3, generator=torch.Generator().manual_seed(seed)) * 2 - 1
    *rows, whole = statistics(Images(x), portion)
    assert [r["channel"] for r in rows] == [str(c) for c in range(channels)] and whole["channel"] == "all" and whole["images"] == n
    for row, part in zip([*rows, whole], [*x.double().unbind(1), x.double()]):
        assert (row["mean"], row["std"]) == pytest.approx((part.mean().item(), part.std(correction=0).item()), abs=1e-9) and (row["low"], row["high"]) == (part.min(), part.max())


def test_statistics_of_a_folder_that_is_read_as_needed(tmp_path):
    scenes = load("scenes", 16)[:5]
    for i, image in enumerate(scenes): save_grid(tmp_path / f"{i}.png", image[None], line=0)
    for row, again in zip(statistics(Images(scenes)), statistics(Folder(sorted(tmp_path.iterdir()), 16), 2), strict=True): assert row == pytest.approx(again)


def plan_of(*names, **changes):
    "Report 004's plan with a few recipes and a tiny network."
    def plan(full, data):
        whole = reproduce.report_004_dcgan(full, data)
        small = {k: whole.recipes[k]._replace(model=whole.recipes[k].model | dict(width=2)) for k in names}
        return whole._replace(recipes=small, data=dict(name="digits", size=16, n=64), **changes)
    return plan


def test_the_search_goes_on_within_a_run(tmp_path):
    names = "Adam, cosine", "D with spectral norm"
    go = lambda folder: reproduce.run_study(plan_of(*names), tmp_path / folder, seeds=2, steps=10, say=lambda line: None)
    plan = plan_of(*names)(False, None)
    begun = start(reproduce.run_folder(tmp_path / "parts", names[0], 1), plan.recipes[names[0]].model, plan.data, **plan.shared, seed=1, steps=10, every=2, keep=1, **plan.recipes[names[0]].training)
    begun.fit(3)  # killed there
    whole, parts = go("whole"), go("parts")
    assert {n: [r["scores"] for r in runs] for n, runs in whole.results.items()} == {n: [r["scores"] for r in runs] for n, runs in parts.results.items()}
    assert go("whole") == whole and (tmp_path / "whole/samples.png").exists() and "report's FID" not in whole.table()[0]
    with pytest.raises(ValueError, match="holds a study with other recipes and shared: choose another folder"): reproduce.run_study(plan_of(names[0], shared={}), tmp_path / "whole", steps=10)


def test_a_training_that_is_not_finite_is_a_result(tmp_path):
    def plan(full, data):
        plan = plan_of("Adam")(full, data)
        return plan._replace(recipes=plan.recipes | {"wild": plan.recipes["Adam"]._replace(training=dict(optimizer="sgd", lr_d=1e30, lr_g=1e30))})
    study = reproduce.run_study(plan, tmp_path, seeds=2, steps=5, say=lambda line: None)
    tame, wild = study.table()
    assert tame["failed"] == 0 and wild["failed"] == 2 and math.isnan(wild[study.scores[0]]) and math.isfinite(tame[study.scores[0]])
    assert "not finite" in study.results["wild"][0]["failed"] and reproduce.Study(**json.loads((tmp_path / "study.json").read_text())) == study


def test_dcgan_on_the_command_line(tmp_path):
    run = lambda *words: CliRunner().invoke(app, [str(w) for w in words])
    words = ["--data", "digits", "--size", 16, "--steps", 2, "--out", tmp_path / "run", "--device", "cpu", "--batch", 8]
    done = run("train", "dcgan", *words, *(f"--set={s}" for s in ("width=2", "norm=spectral", "optimizer=nesterov", "lr_schedule=cosine")))
    config = json.loads((tmp_path / "run/config.json").read_text())
    assert done.exit_code == 0 and config["model"]["norm"] == "spectral" and config["training"]["optimizer"] == "nesterov", done.output
    for wrong, message in ((["train", "dcgan", "--data", "digits", "--out", tmp_path / "x"], "it makes sides of 16, 32, 64, ..., not 8; load the images with size=16"),
                           (["train", "--resume", "--out", tmp_path / "run", "--steps", 3], "cosine schedule is over at step 2"),
                           (["reproduce", "report-004-dcgan", "--full", "--out", tmp_path / "y"], "--data FOLDER")):
        done = run(*wrong)
        assert done.exit_code == 1 and message in done.stderr, done.output


def test_the_full_search_wants_a_folder(tmp_path):
    with pytest.raises(ValueError, match="--data FOLDER"): reproduce.report_004_dcgan(full=True)
    plan = reproduce.report_004_dcgan(full=True, data=str(tmp_path))
    assert plan.data == dict(name=str(tmp_path), size=64) and plan.recipes["Adam"].training == dict(lr_d=2e-4, lr_g=2e-4) and plan.recipes.keys() == reproduce.recipes_004(False).keys()
    for i, image in enumerate(load("scenes", 16)[:5]): save_grid(tmp_path / f"{i}.png", image[None], line=0)
    assert len(reproduce.reals_of(dict(name=str(tmp_path), size=12, n=2))) == 5
