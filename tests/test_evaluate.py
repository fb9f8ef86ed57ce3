"Features and the table over them: against pytorch-fid end to end, with folders as people have them, and during a training."
import json
import os
import subprocess
import sys
import urllib.error

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image
from pytorch_fid import inception as theirs
from pytorch_fid.fid_score import get_activations
from sklearn.datasets import load_sample_image
from torch import nn

import ganlab.features as F
from conftest import equal
from ganlab import similarity
from ganlab.batches import Images
from ganlab.callbacks import EMA
from ganlab.checkpoint import newest
from ganlab.data import load
from ganlab.digits_network import WEIGHTS, accuracy, pretrained
import ganlab.evaluate as evaluation
from ganlab.evaluate import WATCHING, Evaluate, draw, evaluate
from ganlab.folder import Folder, load_folder
from ganlab.gan import GAN
from ganlab.metrics import frechet_distance
from ganlab.models.mlp import mlp
from ganlab.report import report
from ganlab.runs import load as load_run, resume, start
from ganlab.synthetic import scenes
from ganlab.trainer import Trainer


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    "Features of a test are kept in its own folder."
    monkeypatch.setenv("GANLAB_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "features"


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    "A file of Inception weights that say something: random ones, with the statistics of batch norm from a few images."
    torch.manual_seed(0)
    net = F.inception_v3()
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d): module.momentum = None
    with torch.no_grad(): net.train()(scenes(16, 96) / 127.5 - 1)
    file = tmp_path_factory.mktemp("inception") / "weights.pth"
    torch.save(net.state_dict(), file)
    return file


@pytest.fixture
def official(weights, monkeypatch):
    "These weights pass for pytorch-fid's, on both sides."
    monkeypatch.setattr(F, "OFFICIAL", F.digest(weights)[:8])
    monkeypatch.setattr(theirs, "load_state_dict_from_url", lambda *a, **k: torch.load(weights, weights_only=True))
    return weights


def write(folder, images, suffix="png"):
    "Images (N, C, H, W) in [-1, 1], or bytes, as files."
    folder.mkdir()
    images = images if images.dtype == torch.uint8 else ((images + 1) * 127.5).round().byte()
    for i, image in enumerate(images): Image.fromarray(image.permute(1, 2, 0).squeeze(-1).numpy()).save(folder / f"{i:04d}.{suffix}")
    return folder


def test_two_folders_have_pytorch_fids_fid(tmp_path, official):
    "Its reading, its network, and the distance of its features; at so few images its own root of the matrices may fail."
    a, b = write(tmp_path / "a", scenes(14, 80, 0)), write(tmp_path / "b", scenes(12, 80, 1))
    model = theirs.InceptionV3()
    x, y = (get_activations(sorted(f.iterdir()), model, 5, num_workers=0) for f in (a, b))
    net = F.network("inception", weights=official)
    np.testing.assert_allclose(F.extract(load(a), net).numpy(), x, atol=0.01 * x.std())
    score = evaluate(a, b, "fid", features=net)["fid"]
    assert score.value == pytest.approx(frechet_distance(y, x), rel=1e-3) and score.name == "FID[n=14]" and score.n_real == 12 and score.resize == "pytorch-fid"


def test_inception_is_pytorch_fids_network(official):
    images, net = scenes(3, 64) / 127.5 - 1, F.network("inception", weights=official)
    want = theirs.InceptionV3().eval()((images + 1) / 2)[0].flatten(1)
    torch.testing.assert_close(F.extract(images, net), want, atol=0.01 * want.std().item(), rtol=1e-3)
    assert want.std() > 0.01 and net.probabilities(want).shape == (3, 1008)
    fc = torch.load(official, weights_only=True)["fc.weight"]
    torch.testing.assert_close(net.probabilities(want), (want @ fc.T).softmax(1))  # without the bias


def test_only_its_own_weights_make_an_fid(tmp_path, weights):
    a = write(tmp_path / "a", scenes(4, 40))
    net = F.network("inception", weights=weights)
    assert net.name == f"inception@{F.digest(weights)[:8]}"
    assert evaluate(a, a, "fd", features=net)["fd"].name == f"FD[{net.name}, n=4]"
    with pytest.raises(ValueError, match="'fid' is of Inception's own weights"): evaluate(a, a, "fid", features=net)
    with pytest.raises(ValueError, match="does not hold the weights"): F.network("inception", weights=WEIGHTS)


def test_other_resizing_is_in_the_name(official):
    color, grey = Images(scenes(4, 80)), Images(torch.cat([load("digits", 28)[:4]]))
    named = lambda images, *network: evaluate(images, images, "fd", features=F.network(*network))["fd"].name
    assert named(color, "inception", "clean-fid", official) == "FID[clean-fid, n=4]" and named(color, "inception", "none", official) == "FID[none, n=4]"
    assert named(grey, "digits", "pytorch-fid") == "FD[digits, pytorch-fid, n=4]" and named(grey, "digits", "none") == "FD[digits, none, n=4]" and named(grey, "digits") == "FD[digits, n=4]"
    one, other = (evaluate(grey, grey, "fd", features=nn.Sequential(nn.Flatten(), nn.Linear(784, 8)))["fd"].name for _ in range(2))
    assert one != other  # networks of yours are told apart by their weights


def test_without_a_network_the_message_says_what_to_do(tmp_path, monkeypatch):
    def offline(*args, **kwargs): raise urllib.error.URLError("no network")
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", offline)
    monkeypatch.setattr(torchvision.models._api, "load_state_dict_from_url", offline)
    similarity.lpips_network.cache_clear()
    with pytest.raises(FileNotFoundError, match="pt_inception-2015-12-05-6726825d.pth is not in .* could not be downloaded .*no network.* `weights`.*'efficientnet_lite0'"): F.network("inception")
    with pytest.raises(FileNotFoundError, match="vgg16-397923af.pth, which is not in .*no network"): similarity.lpips(*torch.zeros(2, 1, 3, 64, 64))
    assert not list(tmp_path.rglob("*.pth"))


def test_a_download_that_is_not_the_file_is_refused(tmp_path, monkeypatch):
    (tmp_path / "served").write_bytes(b"an error page")
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    monkeypatch.setattr(theirs, "FID_WEIGHTS_URL", (tmp_path / "served").as_uri())
    with pytest.raises(FileNotFoundError, match="invalid hash"): F.network("inception")
    assert not list((tmp_path / "hub").rglob("*.*"))


def test_lpips_with_local_weights_is_calibrated_and_scaled(tmp_path, monkeypatch):
    "The backbone is read from torch's cache; the value is the sum of weighted squared differences of unit features, after the scaling layer."
    torch.manual_seed(0)
    vgg = torchvision.models.vgg16(weights=None)
    (tmp_path / "checkpoints").mkdir()
    torch.save(vgg.state_dict(), tmp_path / "checkpoints/vgg16-397923af.pth")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path)); monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path))
    similarity.lpips_network.cache_clear()
    x, y = torch.rand(2, 3, 3, 64, 64) * 2 - 1
    shift, scale = (torch.tensor(v).view(3, 1, 1) for v in ((-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)))
    net, want = similarity.lpips_network("vgg"), torch.zeros(3)
    u, v = (x - shift) / scale, (y - shift) / scale
    for i, layer in enumerate(vgg.features.eval()):
        u, v = layer(u), layer(v)
        if i not in (3, 8, 15, 22, 29): continue  # relu1_2, 2_2, 3_3, 4_3, 5_3
        unit = [f / (f.square().sum(1, keepdim=True).sqrt() + 1e-10) for f in (u.detach(), v.detach())]
        w = [p for name, p in net.named_parameters() if f"lin{(3, 8, 15, 22, 29).index(i)}." in name][0]
        want += ((unit[0] - unit[1]).square() * w.view(1, -1, 1, 1)).sum(1).mean((1, 2)).detach()
    torch.testing.assert_close(similarity.lpips(x, y), want, rtol=1e-3, atol=1e-6)
    assert similarity.lpips(x, x).abs().max() < 1e-7 and similarity.lpips(x[:, :1], y[:, :1]).shape == (3,)
    assert similarity.diversity(torch.cat([x, y])).value > 0
    gan = GAN(nn.Sequential(nn.Linear(8, 3 * 32 * 32), nn.Tanh(), nn.Unflatten(1, (3, 32, 32))), nn.Identity(), 8)
    assert [s.measure for s in evaluate(gan, x, "diversity", n=8)] == ["diversity"] and similarity.path_length(gan, 8).value > 0
    with pytest.raises(ValueError, match="32 pixels"): similarity.lpips(*torch.zeros(2, 1, 3, 28, 28))
    similarity.lpips_network.cache_clear()


def test_efficientnet_knows_photographs():
    categories = torchvision.models.EfficientNet_B0_Weights.IMAGENET1K_V1.meta["categories"]
    net = F.network("efficientnet_lite0")
    for file, what in (("china.jpg", "palace"), ("flower.jpg", "daisy")):
        photo = torch.from_numpy(load_sample_image(file).copy()).permute(2, 0, 1)[None, :, :, 107:534] / 127.5 - 1
        assert categories[net.probabilities(F.extract(photo, net)).argmax()] == what


def test_the_digits_network_is_as_recorded(real_data):
    record = json.loads(WEIGHTS.with_suffix(".json").read_text())
    for name, share in record["test_accuracy"].items(): assert accuracy(pretrained(), load(name, 28, "test", real_data)) == pytest.approx(share, abs=1e-3)
    assert record["test_accuracy"]["mnist"] >= 0.99 and WEIGHTS.stat().st_size < 400_000


def test_a_streamed_folder_has_the_features_of_one_in_memory(tmp_path):
    write(tmp_path / "a", scenes(9, 40))
    memory, streamed = load(tmp_path / "a"), Folder(sorted((tmp_path / "a").iterdir()), 40)
    net = F.network("efficientnet_lite0")
    torch.testing.assert_close(F.extract(streamed, net), F.extract(memory, net), atol=1e-5, rtol=1e-4)
    assert [len(p) for p in F.portions(streamed, 4)] == [4, 4, 1] and torch.equal(torch.cat([*F.portions(streamed, 4)]), memory[:])


def test_kept_features_go_with_contents_and_not_with_names(tmp_path, cache):
    a, b = write(tmp_path / "a", scenes(5, 40)), write(tmp_path / "b", scenes(5, 40))
    net = F.network("efficientnet_lite0")
    F.cached(load(a), net); F.cached(load(b), net)
    assert len(list(cache.iterdir())) == 1  # equal images
    Image.fromarray(np.zeros((40, 40, 3), np.uint8)).save(a / "0000.png")
    changed = F.cached(load(a), net)
    assert len(list(cache.iterdir())) == 2 and torch.equal(changed, F.extract(load(a), net))
    F.cached(load(a), F.network("efficientnet_lite0", "pytorch-fid"))
    with torch.no_grad(): net.trunk.conv_stem.weight[0, 0, 0, 0] += 1
    F.cached(load(a), net)
    assert len(list(cache.iterdir())) == 4  # other resizing, other weights


def test_a_cache_that_cannot_be_written_does_not_stop_the_work(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("GANLAB_CACHE", str(tmp_path / "file"))
    with pytest.warns(UserWarning, match="not kept"): assert F.cached(load("digits"), F.network("digits")).shape == (1500, 128)


def test_folders_as_people_have_them(tmp_path):
    mixed = write(tmp_path / "mixed", scenes(3, 40))
    Image.fromarray(np.zeros((50, 60, 3), np.uint8)).save(mixed / "other.png")
    real = Images(scenes(10, 40, 1))
    with pytest.raises(ValueError, match="2 sizes, such as 40x40 and 60x50.*size="): evaluate(mixed, real, "fd")
    one = write(tmp_path / "one", scenes(1, 40))
    for metric, least in (("fd", 2), ("kid", 4), ("pr", 4), ("dc", 6)):
        with pytest.raises(ValueError, match="too few|are too few"): evaluate(one, real, metric)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="holds no image"): evaluate(tmp_path / "empty", real, "fd")
    (mixed / "other.png").write_bytes(b"no image")
    with pytest.raises(ValueError, match="other.png"): evaluate(mixed, real, "fd")
    flat = Images(torch.zeros(6, 3, 40, 40, dtype=torch.uint8))
    found = {s.measure: s.value for s in evaluate(flat, real, "fd,pr")}
    assert found["precision"] == 0 == found["recall"] and np.isfinite(found["fd"])  # all alike: a finite distance, and nothing is covered
    with pytest.warns(UserWarning, match=r"fakes are \(3, 32, 32\) and reals \(3, 40, 40\)"): evaluate(Images(scenes(8, 32)), real, "fd")
    with pytest.raises(ValueError, match="'digits' takes 1 channel, the images have 3"): evaluate(real, real, "fd", features="digits")


def test_a_generator_that_is_broken_gives_no_number():
    gan = mlp(8, hidden=(16,))
    with torch.no_grad(): next(gan.generator.parameters()).fill_(float("nan"))
    with pytest.raises(ValueError, match="NaN"): evaluate(gan, "digits", "fd", n=10)


def test_a_gan_and_the_folder_of_its_images_score_alike(tmp_path):
    torch.manual_seed(0)
    gan = mlp(8, hidden=(16,))
    files = write(tmp_path / "fakes", torch.cat([*draw(gan, 230, seed=3)]))
    ours, folder = evaluate(gan, "digits", "fd,kid,pr,dc,score", n=230, seed=3), evaluate(files, "digits", "fd,kid,pr,dc,score", features="digits", seed=3)
    assert [(s.name, s.n_fake, s.n_real) for s in ours] == [(s.name, s.n_fake, s.n_real) for s in folder]
    assert [s.value for s in ours] == pytest.approx([s.value for s in folder], rel=1e-5)
    assert evaluate(files, "digits", "fd", n=50, features="digits")[0].name == "FD[digits, n=50]"


def test_pairs_and_refusals():
    x = load("digits", 16)[:60]
    y = (x + 0.1).clamp(-1, 1)
    scores = evaluate(y, x, "psnr,ssim")
    assert scores["psnr"].value == pytest.approx(similarity.psnr(y, x).mean().item()) and scores["psnr"].low < scores["psnr"].value < scores["psnr"].high
    assert scores["psnr"].features == "" and scores["psnr"].name == "PSNR[n=60]"
    for metric, words in (("psnr", "equal length"), ("ms_ssim", "161 pixels")):
        with pytest.raises(ValueError, match=words): evaluate(y[: 50 if metric == "psnr" else 60], x, metric)
    for wrong, words in (("", "at least one"), ("fd,kidd", "no measure 'kidd': did you mean 'kid'")):
        with pytest.raises(ValueError, match=words): evaluate(y, x, wrong)
    with pytest.raises(ValueError, match="has no classes"): evaluate(y, x, "score", features=nn.Flatten())
    assert evaluate(y, x, "fd", features=nn.AvgPool2d(4))["fd"].name.startswith("FD[AvgPool2d@")
    for wrong, words in ((dict(metrics="psnr", n=30), "whole sets"), (dict(metrics="fd", n=-5), "n must be positive"), (dict(metrics="fd", bootstrap=3), "3 rounds is none"), (dict(metrics="fd", bootstrap=50), "5 samples a feature")):
        with pytest.raises(ValueError, match=words): evaluate(y, x, **wrong)
    for wrong in ((x + 1) * 127.5, x.clone().fill_(float("nan"))):
        with pytest.raises(ValueError, match=r"want images in \[-1, 1\]"): evaluate(wrong, x, "psnr")
    assert evaluate(x, x, "psnr")["psnr"].value == float("inf") and evaluate(x[:1], y[:1], "psnr")["psnr"].low is None


def test_a_module_of_yours_is_neither_kept_nor_changed(cache):
    "Its code may change without a trace in its weights."
    class Power(nn.Module):
        p = 1
        def forward(self, images): return images.flatten(1)[:, 20:30] ** self.p
    x, y = load("digits")[:200], load("digits")[200:400]
    before = evaluate(x, y, "fd", features=Power())["fd"].value
    Power.p = 3
    assert evaluate(x, y, "fd", features=Power())["fd"].value != before and not cache.exists()
    D = nn.Sequential(nn.Flatten(), nn.Linear(64, 4), nn.Dropout(0.5)).train()
    evaluate(x, y, "fd", features=D)
    assert D.training and all(p.requires_grad for p in D.parameters())


def test_pairs_are_drawn_from_the_whole_set(monkeypatch):
    "Folders are in the order of their names, often class by class."
    digits = load("digits")
    by_class = Images(digits.images[digits.labels.argsort()])
    monkeypatch.setattr(evaluation, "PAIRED", 300)
    score = evaluate(digits, by_class, "kid")["kid"]
    assert score.low < 0 < score.high and score.n_real == score.n_fake == 300


class Plain(torch.utils.data.Dataset):
    "A data set of somebody else's."
    shape = (1, 8, 8)
    def __len__(self): return 100
    def __getitem__(self, i): return load("digits")[i]


def test_data_sets_of_others_and_callbacks_that_cannot_work():
    assert evaluate(load("digits")[100:200], Plain(), "fd")["fd"].n_real == 100
    for metrics, words in (("fd,psnr", "'psnr' compares pairs"), ("diversity", "no better and worse"), ("fdd", "no measure 'fdd'")):
        with pytest.raises(ValueError, match=words): Evaluate("digits", metrics)
    with pytest.raises(ValueError, match="32 pixels"): Trainer(mlp(8, hidden=(16,)), load("digits"), callbacks=[Evaluate("digits", "fd,ppl")]).fit(1)


SMALL = dict(model=dict(name="mlp", hidden=[32, 64]), data=dict(name="digits"), batch_size=32, every=20, ema=0.9, device="cpu", metrics="fd,pr")


def test_measuring_changes_no_bit_of_the_game_and_survives_a_stop(tmp_path):
    bare, measured = ({**SMALL, "metrics": m} for m in (None, "fd,pr"))
    start(tmp_path / "bare", **bare).fit(60)
    start(tmp_path / "whole", **measured).fit(60)
    start(tmp_path / "parts", **measured).fit(40)
    resume(tmp_path / "parts").fit(20)
    plain, whole, parts = (newest(tmp_path / name / "checkpoints")[1] for name in ("bare", "whole", "parts"))
    for key in ("gan", "optimizers", "randomness", "position"): assert equal(plain[key], whole[key]) and equal(whole[key], parts[key])
    rows = [[{**r, "seconds": 0} for r in json.loads((tmp_path / name / "scores.json").read_text())] for name in ("whole", "parts")]
    assert rows[0] == rows[1] and [r["step"] for r in rows[0]] == [20, 40, 60]
    assert {"FD[digits, n=1000]", "held-out FD[digits, n=1000]", "precision[digits, n=1000]"} < rows[0][0].keys()
    best = min(rows[0], key=lambda r: r["FD[digits, n=1000]"])
    assert newest(tmp_path / "whole/best")[1]["steps"] == best["step"]
    gan = load_run(tmp_path / "parts", best=True)
    chosen_by, fresh = (evaluate(gan, "digits", "fd", n=1000, seed=seed)["fd"].value for seed in (WATCHING, 0))
    assert chosen_by == pytest.approx(best["FD[digits, n=1000]"], rel=1e-6) and fresh != chosen_by  # whoever evaluates later sees other fakes


def test_a_run_from_before_metrics_were_an_option_goes_on(tmp_path):
    start(tmp_path / "run", **{**SMALL, "metrics": None}).fit(20)
    config = json.loads((tmp_path / "run/config.json").read_text())
    del config["training"]["metrics"]
    (tmp_path / "run/config.json").write_text(json.dumps(config))
    assert resume(tmp_path / "run").fit(20).steps == 40
    resume(tmp_path / "run", metrics="fd").fit(20)
    resume(tmp_path / "run", metrics="kid,fd").fit(40)  # another measure decides from here on
    rows = json.loads((tmp_path / "run/scores.json").read_text())
    assert [r["step"] for r in rows] == [60, 80, 100] and "KD[digits, n=1000]" not in rows[0]
    report(tmp_path / "run")
    write(tmp_path / "others", load("digits", split="test")[:50])
    resume(tmp_path / "run", held_out=str(tmp_path / "others")).fit(20)
    assert "held-out KD[digits, n=1000]" in json.loads((tmp_path / "run/scores.json").read_text())[-1]
    with pytest.raises(ValueError, match="no measure 'fidd'"): start(tmp_path / "wrong", **{**SMALL, "metrics": "fidd"})


@pytest.mark.parametrize("metric, pick", [("fd", min), ("pr", max)])
def test_the_best_is_lowest_or_highest_as_the_measure_is_read(tmp_path, metric, pick):
    torch.manual_seed(0)
    digits, watch = load("digits"), Evaluate(load("digits"), metric, every=25, n=200, folder=tmp_path)
    Trainer(mlp(8, latent_dim=16, hidden=(128, 256)), digits, callbacks=[EMA(0.9), watch]).fit(250)
    values = [r[watch.first] for r in watch.rows]
    assert watch.best[watch.first] == pick(values) and newest(tmp_path / "best")[1]["steps"] == watch.best["step"] == watch.rows[values.index(pick(values))]["step"]
    assert len(list((tmp_path / "best").iterdir())) == 1 and len(watch.figure().axes) == 2


def test_the_command_line_compares_folders_and_writes_json(tmp_path, official):
    a, b = write(tmp_path / "a", scenes(6, 40)), write(tmp_path / "b", scenes(7, 40, 1))
    command = lambda *words: subprocess.run([sys.executable, "-m", "ganlab", "evaluate", *map(str, words)], cwd=tmp_path, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    done = command(a, "--data", b, "--metrics", "fd,kid,pr")
    assert done.returncode == 0, done.stderr
    written = json.loads((tmp_path / "evaluation.json").read_text())
    assert [s["name"] for s in written["scores"]] == ["FD[efficientnet_lite0, n=6]", "KD[efficientnet_lite0, n=6]", "precision[efficientnet_lite0, n=6]", "recall[efficientnet_lite0, n=6]"]
    assert all(s["name"] in done.stdout for s in written["scores"]) and {"fakes", "reals", "seed", "time", "versions"} < written.keys()
    for words, message in (([a], "--data NAME_OR_FOLDER"), (["nowhere", "--data", b], "neither a run nor a folder"), ([a, "--data", b, "--metrics", "fid", "--features", "digits"], "with 'digits' ask for 'fd'"),
                           ([a, "--data", b, "--resize", "lanczos"], "no resizing 'lanczos'"), ([a, "--data", b, "--metrics", "fd", "--features", "efficientnet_lite0", "--weights", official], "only inception takes a path"),
                           ([a, "--data", b, "--metrics", "fid", "--weights", official], "Inception's own weights; with 'inception@")):
        done = command(*words)
        assert done.returncode == 1 and message in done.stderr and "Traceback" not in done.stderr, done.stderr
    assert command("a", "--data", b, "--metrics", "fd", "--resize", "none").returncode == 0 and "efficientnet_lite0, none" in (tmp_path / "evaluation.json").read_text()
    grey = write(tmp_path / "digits", load("digits", split="test")[:30])  # named like a data set
    assert command("digits", "--data", grey, "--features", "digits", "--metrics", "fd,mifid").returncode == 0
    written = json.loads((tmp_path / "evaluation.json").read_text())
    assert written["scores"][0]["n_fake"] == 30 and written["scores"][1]["value"] is None  # copies: infinite, which JSON cannot say
    assert "FD[inception@" in command(a, "--data", b, "--metrics", "fd", "--weights", official).stdout


def test_real_paintings_against_each_other(real_data):
    "Two halves of one set: a distance far above 0 by bias alone, and a kernel distance of 0."
    paintings = load_folder(real_data / "vangogh_256/img", 64)
    order = torch.randperm(len(paintings), generator=torch.Generator().manual_seed(0))
    few, rest = (Images(paintings.images[i]) for i in (order[:50], order[50:250]))
    scores = evaluate(few, rest, "fd,kid")
    assert scores["fd"].value > 50 and scores["kid"].low < 0 < scores["kid"].high
