"""The second test bed: a LLaVA whose language model, SmolLM2-135M-Instruct, learnt language first.

Nothing of it is bundled. `transprune smol language` makes the language model of a file that is on
the machine, `transprune smol world` gathers what pictures are drawn from, and `transprune smol
train` trains a vision tower and a projector on them; `transprune smol assemble` puts the model
together. All of them write into one folder, which is `out/smol` by default:

    language/   the language model, as transformers loads it, and what it answers to text alone
    world/      pictures of some 1,300 kinds of things with their names, and photographs
    tower/, projector/   the trainings: checkpoints and logs
    adapter/    both, trained
    model/      the finished model, an ordinary checkpoint

The training code is in `smol/train`, which is part of the source repository and not of the wheel.
"""
