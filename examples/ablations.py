"""The ablations of the TransPrune paper, each one argument, on the bundled model's demo questions.

24 questions: this shows how to run them, not which is better.
"""

import torch
from PIL import Image
from transformers import AutoModelForImageTextToText, AutoProcessor

from transprune import Compose, TransPrune, VisionZip, nano, prune
from transprune.demo import folder, read_questions

METHODS = {
    "High": TransPrune.high(),
    "TTV alone": TransPrune.ttv(),
    "IGA alone": TransPrune.iga(),
    "alpha 0.4": TransPrune.high(alpha=0.4),
    "the released code's 1 - cos": TransPrune.high(direction="one_minus_cos"),
    "magnitude only": TransPrune.high(use_direction=False),
    "no accumulation": TransPrune.high(accumulation=False),
    "shallow layers": TransPrune.high(accumulate=range(1, 7)),
    "original positions": TransPrune.high(positions="keep"),
    "after VisionZip": Compose([VisionZip(0.5), TransPrune(keep={4: 0.5, 5: 0.25, 6: 0.125})]),
}

model = AutoModelForImageTextToText.from_pretrained(nano.path(), dtype=torch.float32)
processor = AutoProcessor.from_pretrained(nano.path())


def answer(question: str, image: Image.Image) -> str:
    inputs = processor(
        images=image, text=f"USER: <image>\n{question} ASSISTANT:", return_tensors="pt"
    )
    out = model.generate(**inputs, max_new_tokens=8)
    return processor.decode(
        out[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True
    ).strip()


questions = [
    (asked, Image.open(folder() / "pictures" / asked.picture)) for asked in read_questions()
]
for name, method in METHODS.items():
    with prune(model, method) as session:
        right = sum(answer(asked.question, image) == asked.answer for asked, image in questions)
    share = session.trace.cost("exact").prefill_share
    print(f"{name:30} {right}/{len(questions)} right, {share:.1%} of the prefill FLOPs")
