"""A model with LoRA adapters is pruned."""

import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForImageTextToText, AutoProcessor

from transprune import nano, prune
from transprune.demo import folder, read_questions
from transprune.models.images import open_image

question = read_questions()[0]
base = AutoModelForImageTextToText.from_pretrained(nano.path(), dtype=torch.float32)
model = get_peft_model(base, LoraConfig(target_modules=["q_proj", "v_proj"]))
processor = AutoProcessor.from_pretrained(nano.path())

prompt = f"USER: <image>\n{question.question} ASSISTANT:"
image = open_image(folder() / "pictures" / question.picture)
inputs = processor(images=image, text=prompt, return_tensors="pt")
with prune(model, "transprune-high") as session:
    model.generate(**inputs, max_new_tokens=4)

assert session.trace.tokens_per_layer()[-1] == 18, session.trace
