"""Shared by all tests: one CPU thread, and tiny models that are built, saved and loaded back once per session."""

import pytest
import torch

from families.cases import FAMILIES, Zoo
from support import record as support
from transprune.core import library

ECHOES = {("llava_next", "eager"), ("vipllava", "eager")}
# where the language model is tested, which is LLaVA's
OF_THE_LANGUAGE_MODEL = ("contracts", "runtime")

torch.set_num_threads(1)  # tiny matrices: more threads only wait for each other
library._warned = (
    True  # a newer transformers is judged by these tests, not by the warning that nobody tried it
)


def pytest_addoption(parser):
    support.add_option(parser)


def pytest_configure(config):
    support.start(config)


@pytest.hookimpl(tryfirst=True)  # before pytest leaves out what the command line does not select
def pytest_collection_modifyitems(items):
    """LLaVA's siblings differ from it in the picture, not in attention: some of their runs are slow ones."""
    for item in items:
        chosen = getattr(item, "callspec", None)
        if chosen is None:
            continue
        family = chosen.params.get("family")
        elsewhere = family == "vipllava" and item.path.parent.name in OF_THE_LANGUAGE_MODEL
        if elsewhere or (family, chosen.params.get("attn")) in ECHOES:
            item.add_marker(pytest.mark.slow)


@pytest.fixture(autouse=True)
def one_thread():
    """Commands set the number of threads of the process they run in; the next test starts with one again."""
    yield
    if torch.get_num_threads() != 1:
        torch.set_num_threads(1)


@pytest.fixture(scope="session")
def zoo(tmp_path_factory):
    """The tiny models: `zoo(name, attn)` is shared and must stay untouched, `zoo.fresh(name, attn)` is the caller's."""
    return Zoo(tmp_path_factory.mktemp("zoo"))


@pytest.fixture(params=FAMILIES)
def family(request):
    """Name of each family in the table."""
    return request.param


@pytest.fixture(params=["eager", "sdpa"])
def attn(request):
    """Attention implementations that run on a CPU."""
    return request.param


@pytest.fixture
def model(zoo, family, attn):
    """The shared model of a family; whatever a test does to it must be gone afterwards."""
    return zoo(family, attn)


@pytest.fixture
def samples(family):
    """Two prompts of different length with different numbers of visual tokens."""
    return FAMILIES[family].ragged()


@pytest.fixture
def inputs(family, samples):
    """The left-padded batch of `samples`."""
    return FAMILIES[family].batch(samples)
