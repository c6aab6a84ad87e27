"""VLMEvalKit's own run.py with a pruned model. Untried: VLMEvalKit cannot be installed where this was built.

    cd VLMEvalKit
    python PATH/launch.py transprune-high --model Qwen2.5-VL-7B-Instruct --data MMBench_DEV_EN

For models that VLMEvalKit loads with transformers' own classes (Qwen2.5-VL, LLaVA-NeXT,
LLaVA-OneVision-HF, ...); `prune` refuses any other. README.md beside this file has a second way.
"""

import runpy
import sys

from vlmeval.config import supported_VLM

from transprune import prune

method = sys.argv.pop(1)
place = sys.argv.index("--model") + 1
name = sys.argv[place]


def build(**options):
    """The model as VLMEvalKit makes it, pruned from now on."""
    wrapper = supported_VLM[name](**options)
    prune(wrapper.model, method).attach()
    return wrapper


# a name of its own, so that predictions of the unpruned model are never taken for these
sys.argv[place] = f"{name}+{method}"
supported_VLM[sys.argv[place]] = build
runpy.run_path("run.py", run_name="__main__")
