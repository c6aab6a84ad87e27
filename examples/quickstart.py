"""Ten lines: load a model as always, prune it for the length of a `with`, see what was kept.

Runs on the bundled model; put any LLaVA-1.5, LLaVA-NeXT, ViP-LLaVA or Qwen2.5-VL checkpoint in its
place.
"""

import torch
from PIL import Image
from transformers import AutoModelForImageTextToText, AutoProcessor

from transprune import TransPrune, nano, prune
from transprune.demo import folder, read_questions

model = AutoModelForImageTextToText.from_pretrained(nano.path(), dtype=torch.float32)
processor = AutoProcessor.from_pretrained(nano.path())

question = read_questions()[1]
image = Image.open(folder() / "pictures" / question.picture)
prompt = f"USER: <image>\n{question.question} ASSISTANT:"
inputs = processor(images=image, text=prompt, return_tensors="pt")

with prune(model, TransPrune.high()) as session:
    out = model.generate(**inputs, max_new_tokens=8)

# generate returns the prompt, too: its length is that of the unpruned prompt
answer = out[0, inputs["input_ids"].shape[1] :]
print(question.question, "->", processor.decode(answer, skip_special_tokens=True))
print(session.trace)
