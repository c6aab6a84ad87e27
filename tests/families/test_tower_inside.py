"""Signals of the vision tower behind layers and stages, attention from context patches, and tiles of a picture."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
from PIL import Image

import transprune
from families.cases import FAMILIES, MODELS, Zoo
from families.listener import Listener, listen
from families.models.onevision import tiled_image
from families.test_llava_videos import clip, prompt
from families.test_onevision_tower import patch_signals
from transprune import prune
from transprune.core.schedule import Schedule
from transprune.core.signals import Reads, Tile, context_saliency
from transprune.core.views import Scores
from transprune.errors import MethodError, MissingSignal, PruneWarning
from transprune.families import find_family
from transprune.families.merged import LOOKS
from transprune.families.tilings import IN_A_ROW, IN_LINES, UNKNOWN, WHOLE
from transprune.families.tower import attention_received, context_attention, saliency_of
from transprune.methods import PTP, DivPrune, LayerPruner, ToMe, VFlowOpt
from transprune.methods.compose import Compose
from transprune.runtime.taps.vision.tiles import find_tiles, shape_by_looks

SCENE = Path(transprune.__file__).parent / "demo" / "pictures" / "scene2.png"
NAMES = ("saliency", "keys", "place", context_saliency(1.2), "tiles")


@dataclass(frozen=True)
class Inside(LayerPruner):
    """Halves the tokens at boundaries 2 and 4 by the tower's attention, and remembers what it read."""

    keep: Schedule = Schedule({2: 0.5, 4: 0.2})
    seen: list = field(default_factory=list, compare=False)

    name: ClassVar[str] = "inside"
    reads: ClassVar[Reads] = Reads(vision=NAMES)

    def schedule(self, num_layers: int) -> Schedule:
        return self.keep

    def score(self, view, carry) -> Scores:
        self.seen.append((view.candidates.clone(), view.vision))
        return {"score": view.vision["saliency"].nan_to_num(0.0)}


def eager_map(query, key, scale):
    """The whole map at once, mean over heads. [H, n, d] -> [n, n]."""
    return (query @ key.mT * scale).softmax(dim=-1).mean(dim=0)


def heads(n: int, seed: int = 0):
    generator = torch.Generator().manual_seed(seed)
    return 3 * torch.randn(2, 4, n, 6, generator=generator)


@pytest.mark.parametrize("threshold", [0.0, 0.8, 1.3])
def test_context_attention_is_the_mean_of_the_maps_own_rows(threshold: float) -> None:
    query, key = heads(20)
    whole = eager_map(query, key, 0.4)
    received = whole.mean(dim=0)
    context = received > threshold * received.mean()
    assert int(context.sum()) > 0 and (threshold == 0) == bool(context.all())
    expected = whole[context].mean(dim=0)
    torch.testing.assert_close(context_attention(query, key, 0.4, threshold), expected)


def test_without_a_threshold_it_is_the_plain_column_mean(monkeypatch) -> None:
    query, key = heads(33, seed=1)
    plain = attention_received(query, key, 0.3)
    torch.testing.assert_close(context_attention(query, key, 0.3, 0.0), plain)
    # a few rows at a time are the same
    monkeypatch.setattr("transprune.families.tower.CHUNK", 4 * 33 * 5)
    torch.testing.assert_close(context_attention(query, key, 0.3, 0.0), plain)


def test_no_patch_above_the_threshold_leaves_the_most_attended_one() -> None:
    query, key = heads(20, seed=2)
    whole = eager_map(query, key, 0.4)
    most = int(whole.mean(dim=0).argmax())
    torch.testing.assert_close(context_attention(query, key, 0.4, 19.0), whole[most])
    with pytest.warns(PruneWarning, match="the published thresholds are for 729"):
        again = context_attention(query, key, 0.4, 34.76)
    torch.testing.assert_close(again, whole[most])


def test_a_cls_token_is_no_context() -> None:
    query, key = heads(17, seed=3)
    whole = eager_map(query, key, 0.4)
    received = whole[1:].mean(dim=0)[1:]
    context = torch.cat([torch.tensor([False]), received > received.mean()])
    found = saliency_of(query[None], key[None], 0.4, True, context_saliency(1.0))[0]
    torch.testing.assert_close(found, whole[context].mean(dim=0))


@pytest.mark.parametrize("attn", ["eager", "sdpa"])
@pytest.mark.parametrize("generate", [False, True], ids=["forward", "generate"])
def test_the_map_of_a_real_tower(zoo: Zoo, attn: str, generate: bool) -> None:
    """LLaVA-OneVision, VFlowOpt's own model: the last layer's eager map, tile by tile."""
    name, picture = "llava_onevision", tiled_image(0)
    inputs = MODELS[name].batch([MODELS[name].sample([0], [3, 6])])
    tower = zoo(name).model.vision_tower
    pixels = picture.tensors["pixel_values"][0]
    with torch.no_grad():
        whole = tower(pixels, output_attentions=True).attentions[-1].mean(dim=1)  # [tiles, n, n]
        saliency, _ = patch_signals(zoo(name), pixels)
    expected, sizes = [], []
    for tile in whole:
        received = tile.mean(dim=0)
        context = received > 1.02 * received.mean()
        sizes.append(int(context.sum()))
        expected.append(tile[context].mean(dim=0))
    assert min(sizes) > 0 and max(sizes) < len(tile)

    read = (context_saliency(1.02), context_saliency(0.0), "tiles")
    [(vision, _)] = listen(zoo(name, attn), inputs, read, generate=generate)
    for signal, values in ((read[0], torch.stack(expected)), (read[1], saliency)):
        [rows], _ = zoo(name).model.pack_image_features(
            [values[..., None]],
            picture.tensors["image_sizes"],
            image_newline=torch.tensor([float("nan")]),
        )
        torch.testing.assert_close(
            vision[signal], rows[:, 0].detach(), atol=1e-6, rtol=0, equal_nan=True
        )
    assert vision.tiles == (Tile(0, -1, -1, 2, 2), *(Tile(0, r, c, 2, 2) for r, c in SQUARE))


SQUARE = ((0, 0), (0, 1), (1, 0), (1, 1))


@torch.no_grad()
def run(model, method, inputs, **options):
    with prune(model, method, **options) as session:
        model(**inputs)
    return session.trace


@pytest.mark.parametrize("pool", ["sample", "image"])
def test_inside_they_are_those_of_the_rows_that_still_run(zoo, family, pool) -> None:
    """At each boundary what the first stage would have read, of the tokens that are left; in the order of pools."""
    case, model = FAMILIES[family], zoo(family, "sdpa")
    inputs, inside, front = case.batch(case.ragged()), Inside(), Listener(NAMES)
    run(model, front, inputs, pool=pool)
    run(model, inside, inputs, pool=pool)
    pools = len(front.seen)
    assert len(inside.seen) == 2 * pools

    for number, (candidates, vision) in enumerate(inside.seen):
        whole, _ = front.seen[number % pools]
        first, _ = inside.seen[number % pools]
        place = torch.searchsorted(first, candidates)
        assert len(candidates) == len(first) if number < pools else len(candidates) < len(first)
        for name in ("saliency", "keys", "place", context_saliency(1.2)):
            torch.testing.assert_close(vision[name], whole[name][place], equal_nan=True)
        assert torch.equal(vision.crop, whole.crop[place])
        assert vision.tiles == whole.tiles
        torch.testing.assert_close(vision.unpruned["keys"], whole["keys"])


@pytest.mark.parametrize("first", [ToMe(0.6), DivPrune(0.6)], ids=["merging", "choosing"])
def test_a_token_made_of_several_has_the_signal_of_its_place(zoo, first) -> None:
    case, model = FAMILIES["llava"], zoo("llava", "sdpa")
    inputs, inside, front = case.batch(case.ragged()), Inside(), Listener(NAMES)
    run(model, front, inputs)
    trace = run(model, Compose([first, inside]), inputs)
    for number, (candidates, vision) in enumerate(inside.seen[:2]):
        assert candidates.tolist() == trace.stages[0].keep[number].tolist()
        whole, _ = front.seen[number]
        torch.testing.assert_close(vision["saliency"], whole["saliency"][candidates])


def test_the_map_travels_with_recycled_tokens(zoo) -> None:
    """VFlowOpt's cuts inside keep the best of the places that the first stage left."""
    case, model = FAMILIES["llava_next"], zoo("llava_next", "sdpa")
    inputs, front = case.batch(case.even()), Listener((context_saliency(1.2),))
    run(model, front, inputs)
    method = VFlowOpt(0.6, {3: 0.8, 5: 0.4}, context=1.2, cell=2.5)
    trace = run(model, method, inputs)
    for sample, (vision, _) in enumerate(front.seen):
        importance = vision[context_saliency(1.2)].nan_to_num(1.0)
        for stage in trace.stages[1:]:
            kept, left = stage.keep[sample], stage.candidates[sample]
            gone = left[~torch.isin(left, kept)]
            assert len(gone) and importance[kept].min() >= importance[gone].max()


def test_tiles_of_every_picture_of_a_prompt(zoo) -> None:
    """Image 0 is 42 x 56, four tiles; image 1 is 28 x 56, two of them."""
    case = FAMILIES["llava_next"]
    sample = case.sample([0, 1], [3, 2, 6])
    [(vision, _)] = listen(zoo("llava_next", "sdpa"), case.batch([sample]), ("tiles",))
    four = [Tile(0, -1, -1, 2, 2), *(Tile(0, row, column, 2, 2) for row, column in SQUARE)]
    two = [Tile(5, -1, -1, 1, 2), Tile(5, 0, 0, 1, 2), Tile(5, 0, 1, 1, 2)]
    assert vision.tiles == (*four, *two)


def test_frames_are_pictures_of_their_own(zoo) -> None:
    name = "llava_onevision"
    _, inputs = prompt(name, [2, clip(name), 1, MODELS[name].image(1), 3])
    [(vision, _)] = listen(zoo(name, "sdpa"), inputs, ("tiles",))
    frames = [Tile(number, 0, 0, 1, 1) for number in range(3)]
    assert vision.tiles[:3] == tuple(frames)
    assert {tile.picture for tile in vision.tiles[3:]} == {3}


def test_ptp_gives_a_salient_tile_more(zoo) -> None:
    """On the model itself: seats in proportion to the attention of the whole view, counted by hand."""
    case, model = FAMILIES["llava_next"], zoo("llava_next", "sdpa")
    inputs = case.batch([case.sample([0], [3, 6])])
    [(vision, _)] = listen(model, inputs, ("saliency", "place", "tiles"))
    trace = run(model, PTP(0.5), inputs)
    kept = torch.bincount(vision.crop[trace.stages[0].keep[0]], minlength=5)

    # 6 of 8 rows are the picture, with padding above and below, so each tile shows a quarter of it
    view = vision["saliency"][:16].view(2, 2, 2, 2).sum(dim=(1, 3)).flatten()
    tokens = torch.tensor([16.0, 12, 12, 12, 12]) / 64
    share = torch.cat([tokens[:1], 0.75 * view / view.sum()])
    count = int((16 + 54) * 0.5)
    quota = count * share
    seats = quota.floor()
    seats[(quota - seats).argsort(descending=True)[: count - int(seats.sum())]] += 1
    # a tile with more seats than tokens hands them on
    assert kept.sum() == count
    short = seats > torch.tensor([16, 12, 12, 12, 12])
    assert not short.any() and kept.tolist() == seats.tolist()


def test_lines_that_do_not_fit_are_refused() -> None:
    def tiles(crop, tiling=IN_LINES):
        crop = np.array(crop)
        return find_tiles(crop, np.zeros_like(crop), np.full_like(crop, tiling))

    assert tiles([0, 0, 1, 2, -1, 1, 2, -1, 3, 4, -1])[3] == Tile(0, 1, 0, 2, 2)
    assert tiles([0, 0, -1]) == (Tile(0, 0, 0, 1, 1),)
    assert tiles([0, 1], UNKNOWN) == (Tile(0, -1, -1, 0, 0), Tile(1, -1, -1, 0, 0))
    assert tiles([0, 1, 1], WHOLE) == (Tile(0, 0, 0, 1, 1), Tile(1, 0, 0, 1, 1))
    for wrong in ([0, 1, 2, -1, 3, -1], [0, 1, 2, -1, 1, 3, -1], [0, 1, 2, -1, 1, -1]):
        with pytest.raises(MissingSignal, match="from left to right"):
            tiles(wrong)
    with pytest.raises(MissingSignal, match="between the tokens of another"):
        find_tiles(np.array([0, 1, 0]), np.array([0, 1, 0]), np.zeros(3, dtype=np.int64))


@pytest.mark.parametrize(
    ("name", "images", "text", "expected"),
    [
        ("internvl", [0, 1], [3, 2, 4], [WHOLE, WHOLE]),
        ("internvl", [0, 1], [3, 0, 4], [IN_A_ROW, IN_A_ROW]),
        ("internvl", [2, 0, 1, 2], [1, 3, 0, 0, 4], [WHOLE] + [IN_A_ROW + 1] * 3),
        ("gemma3", [0, 1], [3, 0, 4], [WHOLE, WHOLE]),
        ("idefics3", [0, 1], [3, 2, 4], [UNKNOWN, UNKNOWN]),
        ("idefics3", [0], [3, 4], [WHOLE]),
        ("llava_next", [0, 1], [3, 2, 4], [IN_LINES, IN_LINES]),
        ("qwen2_5_vl", [0, 1], [3, 0, 4], [WHOLE, WHOLE]),
    ],
)
def test_what_each_family_knows_of_cut_pictures(zoo, name, images, text, expected) -> None:
    case, model = MODELS[name], zoo(name, "sdpa")
    sample = case.sample(images, text)
    inputs = case.batch([sample])
    family = find_family(model)
    base = family.base(model)
    mask = family.visual_mask(base, inputs["input_ids"])
    lengths = [image.tokens for image in sample.images]
    assert family.tilings(base, inputs, mask, lengths) == expected


def internvl_picture(rows: int, columns: int, seed: int = 0) -> torch.Tensor:
    """Tiles of a drawn picture and the view of the whole behind them, as InternVL's processor cuts it."""
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randn(1, 3, 5, 5, generator=generator)
    side = MODELS["internvl"].image(0).tensors["pixel_values"].shape[-1]
    size = (rows * side, columns * side)
    large = torch.nn.functional.interpolate(drawn, size, mode="bicubic")
    cut = large[0].unflatten(2, (columns, side)).unflatten(1, (rows, side)).permute(1, 3, 0, 2, 4)
    view = torch.nn.functional.interpolate(large, (side, side), mode="bicubic", antialias=True)
    return torch.cat([cut.flatten(0, 1), view])


@pytest.mark.parametrize("shape", [(2, 3), (3, 2), (1, 6), (6, 1), (2, 2), (1, 1), (1, 2)])
@pytest.mark.parametrize("generate", [False, True], ids=["forward", "generate"])
def test_tiles_in_a_row_lie_as_they_look(zoo, shape, generate) -> None:
    """Two of InternVL's pictures in one prompt, the second in one piece."""
    case, model = MODELS["internvl"], zoo("internvl", "sdpa")
    rows, columns = shape
    pixels = internvl_picture(rows, columns)
    crops = len(pixels)
    sample = case.sample([0] * crops + [1], [3] + [0] * (crops - 1) + [2, 4])
    inputs = case.batch([sample])
    inputs["pixel_values"] = torch.cat([pixels, inputs["pixel_values"][-1:]])
    [(vision, _)] = listen(model, inputs, ("tiles", "saliency", "place"), generate=generate)
    cells = [(row, column) for row in range(rows) for column in range(columns)]
    cut = tuple(Tile(0, row, column, rows, columns) for row, column in [*cells, (-1, -1)])
    assert vision.tiles == (*cut, Tile(crops, 0, 0, 1, 1))

    trace = run(model, PTP(0.5), inputs)
    kept = torch.bincount(vision.crop[trace.stages[0].keep[0]], minlength=crops + 1)
    tokens = int((vision.crop == 0).sum())
    # the view of the whole and the other picture have their proportional part
    assert abs(int(kept[crops - 1]) - tokens / 2) <= 1 and abs(int(kept[crops]) - tokens / 2) <= 1


@pytest.mark.parametrize(
    ("size", "shape"), [((90, 60), (2, 3)), ((60, 90), (3, 2)), ((30, 180), (6, 1))]
)
def test_the_true_processors_tiles_are_recognised(size, shape) -> None:
    module = pytest.importorskip("transformers.models.got_ocr2.image_processing_pil_got_ocr2")
    settings = {"crop_to_patches": True, "max_patches": 12, "size": {"height": 96, "width": 96}}
    processor = module.GotOcr2ImageProcessorPil(**settings)
    scene = Image.open(SCENE).convert("RGB").resize(size)
    pixels = processor(scene, return_tensors="pt")["pixel_values"]
    assert len(pixels) == 7
    looks = torch.nn.functional.adaptive_avg_pool2d(pixels, LOOKS).numpy()
    assert shape_by_looks(looks) == shape


def test_pictures_that_are_no_tiles_of_the_last_are_unknown(zoo) -> None:
    """Noise in a row, whatever it is, was not cut from one picture: PTP says so, and VFlowOpt makes no means."""
    case, model = MODELS["internvl"], zoo("internvl", "sdpa")
    inputs = case.batch([case.sample([0, 1, 2], [3, 0, 0, 4])])
    with pytest.raises(MissingSignal, match="3 of 3 inputs"):
        run(model, PTP(0.5), inputs)
    run(model, PTP(0.5, tiles=False), inputs)
    run(model, PTP(0.5), inputs, pool="image")
    stages = run(model, VFlowOpt(0.5, None, context=1.0, cell=1.5), inputs).stages
    assert len(stages[0].keep[0]) < stages[0].candidates[0].numel()


def test_a_blank_picture_may_have_any_shape() -> None:
    assert shape_by_looks(np.ones((7, 3, 12, 12))) == (1, 6)
    noise = np.random.default_rng(0).normal(size=(7, 3, 12, 12))
    assert shape_by_looks(noise) is None
    # equal pictures in which all rows are the same are two halves, one above the other
    ramp = np.broadcast_to(np.arange(12.0), (3, 12, 12))
    assert shape_by_looks(np.stack([ramp] * 3)) == (2, 1)
    assert shape_by_looks(np.stack([ramp, ramp.transpose(0, 2, 1), ramp])) is None


def test_an_unknown_signal_names_the_known_ones(zoo) -> None:
    with pytest.raises(MethodError, match="context_saliency, place, grid, picture, tiles"):
        prune(zoo("llava", "sdpa"), Listener(("salience",)))
    with pytest.raises(MethodError, match="got context_saliency"):
        prune(zoo("llava", "sdpa"), Listener(("context_saliency",)))
