"""Tasks that lmms-eval lacks, for its `--include_path`.

    textvqa_val_ocr    TextVQA with reference OCR tokens in the prompt, as LLaVA-1.5 was evaluated
    pope_mean_f1       POPE's mean F1 of the adversarial, popular and random splits
    tgif_qa, msvd_qa   questions about videos: exact match, and a judge's verdicts where there is one

`python -m transprune.integrations.lmms_tasks` prints the folder. The YAML files name functions of
the modules beside them; the metrics are those of `transprune bench`.
"""

from __future__ import annotations

from pathlib import Path


def task_folder() -> Path:
    """The folder of the tasks."""
    return Path(__file__).parent
