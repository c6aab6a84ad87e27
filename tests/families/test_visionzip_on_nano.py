"""VisionZip on the bundled model against the same written out on what the vision tower itself returns."""

from __future__ import annotations

import torch
from transformers import AutoModelForImageTextToText

import transprune
from transprune import VisionZip, prune


@torch.no_grad()
def test_tokens_equal_a_hand_computation():
    model = AutoModelForImageTextToText.from_pretrained(
        transprune.nano.path(), dtype=torch.float32, attn_implementation="eager"
    ).eval()
    pixels = torch.randn(1, 3, 96, 96, generator=torch.Generator().manual_seed(0))
    ids = torch.tensor([[1, 5, *[4] * 144, 7, 6]])
    entered = {}
    first = model.model.language_model.layers[0].input_layernorm
    hook = first.register_forward_pre_hook(lambda module, args: entered.update(rows=args[0]))
    with prune(model, VisionZip(64, positions="renumber")) as session:
        model(input_ids=ids, pixel_values=pixels)
    hook.remove()

    tower, projector = model.model.vision_tower, model.model.multi_modal_projector
    out = tower(pixels, output_hidden_states=True, output_attentions=True)
    hidden, attention = out.hidden_states[-2][0], out.attentions[-2][0]  # [145, D], [H, 145, 145]
    layer = tower.encoder.layers[-2]
    heads = attention.shape[0]
    keys = (
        layer.self_attn.k_proj(layer.layer_norm1(out.hidden_states[-3][0]))
        .unflatten(-1, (heads, -1))
        .mean(1)[1:]
    )
    patches, saliency = hidden[1:], attention[:, 0, 1:].mean(0)

    contextual, dominant_count = 10, 64 - 10 - 1
    dominant = sorted(saliency.argsort(descending=True)[:dominant_count].tolist())
    rest = [i for i in range(144) if i not in dominant]
    targets = rest[:: len(rest) // contextual][:contextual]
    members = [i for i in rest if i not in targets]
    similarity = torch.cosine_similarity(keys[members][:, None], keys[targets][None], dim=-1)
    rows = {i: patches[i] for i in dominant}
    for number, target in enumerate(targets):
        mine = [
            m
            for m, best in zip(members, similarity.argmax(1).tolist(), strict=True)
            if best == number
        ]
        rows[target] = patches[target] + (patches[mine].mean(0) if mine else 0)
    cls_slot = next(i for i in range(144) if i not in rows)
    rows[cls_slot] = hidden[0]
    order = [cls_slot, *dominant, *targets]  # as the released code returns them
    expected = projector(torch.stack([rows[i] for i in order]))

    assert session.trace.stages[0].keep[0].tolist() == order
    torch.testing.assert_close(
        entered["rows"][0, 2:66], expected, atol=2e-5, rtol=1e-6
    )  # features reach 70
