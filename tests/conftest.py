"Shared by all tests: real data where it is, small games, and equality to the bit."
import os
import signal
from pathlib import Path

import pytest
import torch

torch.set_num_threads(1)
signal.signal(signal.SIGINT, signal.default_int_handler)  # tests press Ctrl-C, which a shell ignores for what it runs in the background


def pytest_collection_modifyitems(config, items):
    if os.environ.get("FULL"): return
    skip = pytest.mark.skip(reason="long variant: make test-full")
    for item in items:
        if "full" in item.keywords: item.add_marker(skip)


@pytest.fixture(scope="session")
def real_data() -> Path:
    "The folder with the real data sets; tests that need it are skipped without."
    if not os.environ.get("GANLAB_DATA"): pytest.skip("real sets: set GANLAB_DATA to the folder that holds them")
    return Path(os.environ["GANLAB_DATA"])


def equal(a, b) -> bool:
    "Equal to the bit, through dicts, lists and tuples."
    if isinstance(a, torch.Tensor): return torch.equal(a, b)
    if isinstance(a, dict): return a.keys() == b.keys() and all(equal(a[k], b[k]) for k in a)
    if isinstance(a, (list, tuple)): return len(a) == len(b) and all(map(equal, a, b))
    return a == b
