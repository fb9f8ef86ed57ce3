"Data: real sets against torchvision, files of every kind, orders for any size."
import gzip
import shutil

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings, strategies as st
from PIL import Image
from torch.utils.data import TensorDataset

from ganlab import folder as folder_module
from ganlab.batches import Batches, Images, resize
from ganlab.data import catalog, load
from ganlab.folder import Folder, load_folder, read_image


@pytest.mark.parametrize("name, kind, mean", [("mnist", "MNIST", 0.1307), ("fashion_mnist", "FashionMNIST", 0.2860)])
def test_real_grey_sets(real_data, name, kind, mean):
    if not (real_data / kind).is_dir(): pytest.skip(f"{kind} is not in GANLAB_DATA")
    data, test = load(name, root=real_data), load(name, split="test", root=real_data)
    assert len(data) == 60_000 and len(test) == 10_000 and data.shape == (1, 28, 28)
    assert abs((data[:].mean().item() + 1) / 2 - mean) < 1e-4
    assert torch.bincount(test.labels).sum() == 10_000 and data.labels.unique().tolist() == list(range(10))
    assert load(name, size=32, split="test", root=real_data).shape == (1, 32, 32)


def test_mnist_is_read_as_torchvision_reads_it(real_data, tmp_path):
    from torchvision.datasets import MNIST
    if not (real_data / "MNIST").is_dir(): pytest.skip("MNIST is not in GANLAB_DATA")
    raw = tmp_path / "MNIST/raw"
    raw.mkdir(parents=True)
    for file in (real_data / "MNIST/raw").glob("*.gz"): (raw / file.stem).write_bytes(gzip.decompress(file.read_bytes()))
    theirs, ours = MNIST(str(tmp_path), train=False), load("mnist", split="test", root=real_data)
    assert torch.equal(theirs.data, ours.images[:, 0]) and torch.equal(theirs.targets, ours.labels)


def test_folder_of_real_photographs(real_data):
    if not (real_data / "100-shot-panda").is_dir(): pytest.skip("100-shot-panda is not in GANLAB_DATA")
    pandas = load(real_data / "100-shot-panda", size=64)
    assert len(pandas) == 100 and pandas.shape == (3, 64, 64) and not pandas.skipped
    with Image.open(sorted((real_data / "100-shot-panda/img").iterdir())[0]) as image:  # 256 -> 64, both antialiased
        ours = resize(torch.from_numpy(np.array(image)).permute(2, 0, 1)[None].float() / 127.5 - 1, 64)
    assert (ours[0] - pandas[0]).abs().mean() < 0.01


def test_cifar_goes_through_torchvision(tmp_path, monkeypatch):
    "A tiny set in CIFAR's format, with its own checksums in torchvision's table; then one damaged file."
    import hashlib
    import pickle
    from torchvision.datasets import CIFAR10
    home = tmp_path / CIFAR10.base_folder
    home.mkdir()
    def write(name, content):
        (home / name).write_bytes(pickle.dumps(content))
        return [name, hashlib.md5((home / name).read_bytes()).hexdigest()]
    pixels = np.random.default_rng(0).integers(0, 256, (7, 3072), dtype=np.uint8)
    batch = write("data_batch_1", {"data": pixels, "labels": list(range(7))})
    names = write("batches.meta", {"label_names": list("abcdefg")})
    for attribute, value in dict(train_list=[batch], test_list=[], meta=dict(filename=names[0], key="label_names", md5=names[1])).items():
        monkeypatch.setattr(CIFAR10, attribute, value)
    data = load("cifar10", root=tmp_path)
    assert torch.equal(data.images.flatten(1), torch.from_numpy(pixels)) and data.labels.tolist() == list(range(7))
    (home / "data_batch_1").write_bytes(b"not what was published")
    monkeypatch.setattr(CIFAR10, "download", lambda self: (_ for _ in ()).throw(OSError("no network here")))
    with pytest.raises(FileNotFoundError, match="cifar-10-python.tar.gz is not unpacked, or damaged, under .*no network here"): load("cifar10", root=tmp_path)


def test_catalog_says_what_is_here(tmp_path):
    status = {row["name"]: row["status"] for row in catalog(tmp_path)}
    assert status["digits"].startswith("here") and str(tmp_path) in status["mnist"]


@settings(max_examples=40, deadline=None)
@given(width=st.integers(16, 80), height=st.integers(16, 80), size=st.integers(1, 16), channels=st.sampled_from([1, 3]),
       mode=st.sampled_from(["L", "RGB", "RGBA", "LA", "P", "1", "CMYK", "I;16", "I", "F"]))
def test_any_image_becomes_a_square_of_bytes(tmp_path_factory, width, height, size, channels, mode):
    file = tmp_path_factory.mktemp("any") / ("x.tif" if mode in ("F", "I", "CMYK", "I;16") else "x.png")
    ramp = Image.fromarray(np.tile(np.linspace(0, 255, width, dtype=np.uint8), (height, 1)))
    image = Image.fromarray(np.asarray(ramp).astype(np.uint16) * 257) if mode == "I;16" else ramp.convert("RGB").convert(mode) if mode in ("P", "1", "CMYK", "RGBA", "LA") else ramp.convert(mode)
    image.save(file)
    pixels = read_image(file, size, channels)
    assert pixels.dtype == torch.uint8 and pixels.shape == (channels, size, size)
    assert abs(pixels.float().mean() - 127.5) < 40  # a ramp stays a ramp: nothing is cut off or turned black


@pytest.mark.parametrize("damage", [lambda b: b[: len(b) // 2], lambda b: b"", lambda b: b"GIF89a" + b[6:], lambda b: b[:30] + bytes(500)])
@pytest.mark.parametrize("suffix", ["png", "jpg", "webp"])
def test_damaged_files_are_named(tmp_path, damage, suffix):
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8))
    noise.save(tmp_path / f"bad.{suffix}")
    noise.save(tmp_path / "good.png")
    (tmp_path / f"bad.{suffix}").write_bytes(damage((tmp_path / f"bad.{suffix}").read_bytes()))
    with pytest.raises(ValueError, match=f"bad.{suffix}"): load(tmp_path, size=16)
    with pytest.warns(UserWarning, match="left out 1 of 2"): data = load(tmp_path, size=16, skip_bad=True)
    assert len(data) == 1 and f"bad.{suffix}" in data.skipped[0]


def test_a_float_image_in_0_to_1_is_not_black(tmp_path):
    Image.fromarray(np.tile(np.linspace(0, 1, 32, dtype=np.float32), (32, 1))).save(tmp_path / "x.tif")
    assert abs(read_image(tmp_path / "x.tif").float().mean() - 127.5) < 3


def test_two_processes_that_want_one_download_share_it(tmp_path, monkeypatch):
    "A slow mirror, two threads: one download, under another name until it is whole."
    import hashlib
    import threading
    import time
    from ganlab.data import fetch
    content, calls = b"x" * 1000, []
    def slowly(url, folder, name, md5):
        calls.append(name)
        with open(f"{folder}/{name}", "wb") as file:
            for _ in range(10): file.write(content[:100]); file.flush(); time.sleep(0.02)
    monkeypatch.setattr("torchvision.datasets.utils.download_url", slowly)
    want = tmp_path / "set/file.gz"
    threads = [threading.Thread(target=fetch, args=(want, hashlib.md5(content).hexdigest(), ["a/"])) for _ in range(2)]
    for t in threads: t.start(); time.sleep(0.05)
    assert not want.exists()
    for t in threads: t.join()
    assert want.read_bytes() == content and calls == [".file.gz.part"]


def test_folder_errors_say_what_to_do(tmp_path):
    Image.new("RGB", (20, 30)).save(tmp_path / "a.png")
    Image.new("RGB", (30, 20)).save(tmp_path / "b.png")
    with pytest.raises(ValueError, match="2 sizes, such as .*pass size="): load(tmp_path)
    with pytest.raises(ValueError, match="a.png: is 20x30, smaller than size=24"): load(tmp_path, size=24)
    with pytest.warns(UserWarning), pytest.raises(ValueError, match="none of the 2"): load(tmp_path, size=24, skip_bad=True)
    with pytest.raises(ValueError, match="a folder has no 'test' split"): load(tmp_path, size=8, split="test")
    with pytest.raises(ValueError, match="at least as many images"): Batches(load(tmp_path, size=8), 4)


def test_a_large_folder_is_streamed_by_workers_in_the_same_order(tmp_path, monkeypatch):
    for i in range(12): Image.new("RGB", (8, 8), (i * 20,) * 3).save(tmp_path / f"{i:02}.png")
    small = load_folder(tmp_path, 8)
    monkeypatch.setattr(folder_module, "MEMORY", 100)
    large = load_folder(tmp_path, 8)
    assert isinstance(small, Images) and isinstance(large, Folder)
    before = torch.get_rng_state()
    a, b = Batches(small, 5, seed=2), Batches(large, 5, seed=2, workers=2)
    assert all(torch.equal(next(a), next(b)) for _ in range(6))
    assert torch.equal(before, torch.get_rng_state())  # workers took nothing from the global stream
    shutil.rmtree(tmp_path)  # a file that vanishes while streaming is named, too
    with pytest.raises(Exception, match=r"\d\d.png"): [next(Batches(large, 5, workers=0)) for _ in range(2)]


@settings(max_examples=100, deadline=None)
@given(n=st.integers(1, 40), batch=st.integers(1, 12), count=st.integers(1, 3), seed=st.integers(0, 99), start=st.integers(0, 200))
def test_order(n, batch, count, seed, start):
    "Any n and batch: every epoch is a permutation, shares tile the batch, any position can be restored."
    assume(batch * count <= n)
    data = torch.arange(n)
    parts = [Batches(data, batch, seed, share=(r, count)) for r in range(count)]
    row = torch.cat([torch.cat([next(p) for p in parts]) for _ in range((start + n) // (batch * count) + 2)])
    for epoch in range(len(row) // n): assert sorted(row[epoch * n : (epoch + 1) * n].tolist()) == list(range(n))
    again = Batches(data, batch * count, seed)
    again.seek(start)
    assert torch.equal(next(again), row[start : start + batch * count])


def test_a_dataset_of_dicts_is_fine_and_streams():
    class Pairs(TensorDataset):
        def __getitem__(self, i): return {"a": self.tensors[0][i], "b": self.tensors[1][i]}
    batch = next(Batches(Pairs(torch.arange(9), torch.arange(9) * 2), 4, workers=0))
    assert torch.equal(batch["a"] * 2, batch["b"])
