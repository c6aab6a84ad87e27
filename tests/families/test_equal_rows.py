"""Patches whose features are equal to the bit are patches of their own: each keeps its place, picture and signals."""

from dataclasses import dataclass, field, replace
from typing import ClassVar

import pytest
import torch

from families.cases import FAMILIES, IMAGE, VIDEO, VISION_END, VISION_START, Image, greedy
from methods.cases import METHODS
from transprune import prune
from transprune.core.signals import Reads
from transprune.core.views import Selection
from transprune.methods import ProjectorPruner

# share a budget by place or by picture
BY_PLACE = ["pool", "downsample", "tome"]
READERS = [name for name, case in METHODS.items() if case.method.steps[0].reads.vision]


@torch.no_grad()
def run(model, inputs, method, **options):
    with prune(model, method, **options) as session:
        model(**inputs)
    return session.trace


def per_picture(trace, tokens):
    kept = trace.stages[-1].keep[0]
    return [int((kept // tokens == n).sum()) for n in range(trace.visual_tokens[0] // tokens)]


def nearly(image, number):
    """The picture with a breath of noise, which sets its rows apart."""
    pixels = image.tensors["pixel_values"]
    noise = torch.randn(pixels.shape, generator=torch.Generator().manual_seed(number))
    return Image(image.tokens, {**image.tensors, "pixel_values": pixels + 1e-3 * noise})


def prompt(case, images):
    """Like `FamilyCase.sample`, of pictures made by hand."""
    ids = [5, 6]
    for image in images:
        block = [IMAGE] * image.tokens
        ids += [VISION_START, *block, VISION_END] if case.brackets else [*block, 7]
    return case.batch([type(case.sample([], [1]))((*ids, 8, 9, 10), tuple(images))])


def still_video(breath):
    """Two equal frames, or nearly so."""
    generator = torch.Generator().manual_seed(0)
    frame = torch.randn(64, 3 * 7 * 7, generator=generator)
    second = frame + breath * torch.randn(64, 3 * 7 * 7, generator=generator)
    ids = torch.tensor([[5, 6, VISION_START, *[VIDEO] * 32, VISION_END, 8, 9]])
    return {
        "input_ids": ids,
        "attention_mask": torch.ones_like(ids),
        "mm_token_type_ids": 2 * (ids == VIDEO).int(),
        "pixel_values_videos": torch.cat([frame, second]),
        "video_grid_thw": torch.tensor([[2, 8, 8]]),
    }


@dataclass(frozen=True)
class Places(ProjectorPruner):
    """Keeps everything and remembers the places of the tokens."""

    seen: list = field(default_factory=list, compare=False)

    name: ClassVar[str] = "places"
    reads: ClassVar[Reads] = Reads(vision=("place",))

    def count(self, visual_tokens):
        return visual_tokens

    def select(self, view, carry=None):
        self.seen.append(view.vision["place"].tolist())
        return Selection(torch.arange(len(view.candidates)))


@pytest.mark.parametrize("copies", [2, 3])
@pytest.mark.parametrize("name", BY_PLACE)
def test_the_same_picture_several_times(zoo, family, name, copies):
    case = FAMILIES[family]
    image = case.image(0)
    same = [image] * copies
    apart = [nearly(image, number) for number in range(copies)]
    method = replace(METHODS[name].method, keep=0.5)
    kept = [
        per_picture(run(zoo(family, "sdpa"), prompt(case, images), method), image.tokens)
        for images in (same, apart)
    ]
    # of five tiles each in LLaVA-NeXT, whose shares are rounded one by one
    most = 3 if case.packing == "tiles" else 0
    assert max(abs(a - b) for a, b in zip(*kept, strict=True)) <= most
    assert min(kept[0]) > 0.3 * image.tokens


@pytest.mark.parametrize("name", BY_PLACE)
def test_a_video_that_stands_still(zoo, name):
    method = METHODS[name].method
    kept = [
        per_picture(run(zoo("qwen2_5_vl", "sdpa"), still_video(breath), method), 16)
        for breath in (0.0, 1e-3)
    ]
    assert kept[0] == kept[1]


@pytest.mark.parametrize("name", BY_PLACE)
def test_a_page_of_one_colour(zoo, family, name):
    """Without position embeddings in front of the blocks all rows of Qwen's tower are equal."""
    case = FAMILIES[family]
    image = case.image(0)
    tensors = {**image.tensors, "pixel_values": torch.ones_like(image.tensors["pixel_values"])}
    method = METHODS[name].method
    blank = run(zoo(family, "sdpa"), prompt(case, [Image(image.tokens, tensors)]), method)
    usual = run(zoo(family, "sdpa"), prompt(case, [image]), method)
    assert len(blank.stages[0].keep[0]) == len(usual.stages[0].keep[0])


@pytest.mark.parametrize("name", READERS)
def test_copies_in_a_batch_equal_their_singles(zoo, family, name):
    """The same picture in several samples, and twice in one of them."""
    case = METHODS[name]
    if family in case.refuses:
        pytest.skip(case.refuses[family])
    family_case = FAMILIES[family]
    samples = [
        family_case.sample(images, [3] * (len(images) + 1), seed=1)
        for images in ([0], [0, 0], [1, 0])
    ]
    model = zoo(family, "sdpa")
    together = run(model, family_case.batch(samples), case.method)
    for number, sample in enumerate(samples):
        alone = run(model, family_case.batch([sample]), case.method)
        for stage, single in zip(together.stages, alone.stages, strict=True):
            assert torch.equal(stage.keep[number], single.keep[0])


@pytest.mark.parametrize("name", ["visionzip", "tome", "pool"])
def test_beams_keep_what_one_run_keeps(zoo, family, name):
    """`generate` repeats the prompt, but not the picture in front of the projector."""
    model, case = zoo(family, "sdpa"), FAMILIES[family]
    inputs = case.batch([case.sample([0, 0], [3, 2, 6])])
    alone = run(model, inputs, METHODS[name].method).stages[0].keep[0]
    with prune(model, METHODS[name].method) as session:
        greedy(model, inputs, steps=2, num_beams=2)
    for kept in session.trace.stages[0].keep:
        assert torch.equal(kept, alone)


def test_places_of_equal_rows(zoo):
    """Rows leave Qwen's merger window by window; equal ones are told apart line by line."""
    image = FAMILIES["qwen2_5_vl"].image(0)
    pixels = torch.ones_like(image.tensors["pixel_values"])
    blank = Image(image.tokens, {**image.tensors, "pixel_values": pixels})
    places = Places()
    run(zoo("qwen2_5_vl", "sdpa"), prompt(FAMILIES["qwen2_5_vl"], [blank]), places)
    raster = [[row, column] for row in range(4) for column in range(4)]
    assert places.seen == [raster]
