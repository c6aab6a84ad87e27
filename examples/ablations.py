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
    # a schedule without a depth is taken as it stands: boundaries of this model's 16 layers
    "after VisionZip": Compose([VisionZip(0.5), TransPrune(keep={4: 0.5, 5: 0.25, 6: 0.125})]),
}

model = AutoModelForImageTextToText.from_pretrained(nano.path(), dtype=torch.float32)
processor = AutoProcessor.from_pretrained(nano.path())


def answer(text: str, image: Image.Image) -> str:
    """The model's answer to one question about one picture."""
    prompt = f"USER: <image>\n{text} ASSISTANT:"
    inputs = processor(images=image, text=prompt, return_tensors="pt")
    out = model.generate(**inputs, max_new_tokens=8)

    new_tokens = out[0, inputs["input_ids"].shape[1] :]
    return processor.decode(new_tokens, skip_special_tokens=True).strip()


questions = read_questions()
images = [Image.open(folder() / "pictures" / question.picture) for question in questions]

for name, method in METHODS.items():
    right = 0
    with prune(model, method) as session:
        for question, image in zip(questions, images, strict=True):
            right += answer(question.question, image) == question.answer

    # the trace is that of the last prefill; all questions here have about the same length
    share = session.trace.cost("exact").prefill_share
    print(f"{name:30} {right}/{len(questions)} right, {share:.1%} of the prefill FLOPs")
