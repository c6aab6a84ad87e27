"""The words of tables, pages and help texts, each in plain English. Data only.

This is their one place: `transprune glossary` prints them and `docs/glossary.md` is written from
them.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Word:
    """One word.

    Attributes:
        word: as tables and help texts spell it.
        plain: what it is, in words that need no glossary.
        more: what else a reader should know; may be empty.
        also: other spellings under which it is found.
    """

    word: str
    plain: str
    more: str = ""
    also: tuple[str, ...] = ()


# heading -> its words, in the order in which a newcomer meets them
GLOSSARY: dict[str, tuple[Word, ...]] = {
    "The model": (
        Word(
            "visual token",
            "one patch of the picture (or a few, made into one), as input of the language model",
            "LLaVA-1.5 makes 576 of them from every picture, the bundled model 144.",
            ("visual tokens", "token", "patch"),
        ),
        Word(
            "vision tower",
            "the network that processes the picture, in front of the language model",
            "In the models here a CLIP or SigLIP, or Qwen's own.",
            ("tower",),
        ),
        Word("projector", "the small network that turns the tower's features into visual tokens"),
        Word(
            "language model",
            "the network that processes all tokens and generates the answer",
            "",
            ("LLM",),
        ),
        Word(
            "layer",
            "one of the equal steps of the language model; 32 in LLaVA-1.5-7B, 16 in the bundled "
            "model",
            "Counted from 0, except TransPrune's own layers (`accumulate`), which its paper counts "
            "from 1.",
            ("decoder layer",),
        ),
        Word(
            "tile",
            "a part of a large picture that is processed as a picture of its own",
            "LLaVA-NeXT cuts a picture into up to four, beside the whole picture.",
            ("tiles", "crop"),
        ),
        Word(
            "pyramid",
            "one large picture at several sizes, each cut into tiles",
            "`transprune run --tiles auto` searches it from the coarse sizes to the fine ones.",
            ("level", "thumbnail"),
        ),
        Word(
            "text tower",
            "CLIP's network for text, no part of a LLaVA checkpoint; CDPruner needs it",
        ),
        Word(
            "instruction",
            "the text behind the picture in the prompt: the user's question",
            "",
            ("instruction tokens", "text tokens"),
        ),
        Word(
            "CLS token",
            "one extra token in CLIP's tower that stands for the whole picture",
            "Some methods keep the patches that it attends to most. SigLIP and Qwen2.5-VL "
            "have none; the mean attention that a patch receives takes its place.",
            ("cls",),
        ),
        Word(
            "family",
            "models that share one Hugging Face class, such as LLaVA-1.5 or Qwen2.5-VL",
        ),
        Word("nano", "the bundled model: 9 MB, knows coloured shapes only", "", ("bundled model",)),
    ),
    "What is dropped, and where": (
        Word("pruning", "dropping visual tokens, so that the layers behind have less work"),
        Word("unpruned", "the model as it is, every visual token in every layer"),
        Word(
            "method",
            "a rule that chooses which visual tokens stay, such as FastV or TransPrune",
            "`transprune methods` lists them.",
        ),
        Word("preset", "a method with the settings of its paper, such as `transprune-high`"),
        Word(
            "recipe",
            "a method with its settings as one text or file",
            "For example `fastv:layer=3,keep_ratio=0.25`; a plus joins two methods.",
        ),
        Word(
            "boundary",
            "a gap between two layers, at which visual tokens are dropped",
            "Boundary 7 stands in front of layer 7, so 7 layers have run with more tokens. Boundary "
            "0 is in front of the language model. Tables write `72@7`: 72 tokens from layer 7 on.",
            ("boundaries", "@"),
        ),
        Word(
            "stage",
            "the layers between one boundary and the next, all with the same visual tokens",
            "",
            ("stages",),
        ),
        Word(
            "schedule",
            "the boundaries of a method, with the share of tokens that stays from each on",
            "TransPrune-High has `7:0.875,9:0.625,12:0.125`.",
        ),
        Word("keep ratio", "visual tokens that stay, divided by those there were", "", ("keep",)),
        Word(
            "projector-side",
            "drops once, in front of the language model",
            "VisionZip and DivPrune are of this kind.",
            ("projector side",),
        ),
        Word(
            "within-LLM",
            "drops between layers of the language model",
            "FastV and TransPrune are of this kind. A hybrid does both.",
            ("within the language model", "hybrid"),
        ),
        Word("composition", "one method after another, such as VisionZip and then TransPrune"),
        Word(
            "freeze",
            "visual tokens skip the work of a layer and only give it their keys and values",
            "ShortV does this.",
            ("frozen",),
        ),
        Word(
            "evict",
            "keys and values of visual tokens leave the cache behind the prompt, which costs its full "
            "work; memory and decoding get cheaper",
            "PLPHP does this, for each layer and each head anew.",
            ("evicted", "eviction"),
        ),
        Word(
            "merge",
            "several tokens become one, often their mean, instead of being dropped",
            "VisionZip, PruMerge, ToMe, SparseVLM and PACT do this.",
            ("merging", "contextual"),
        ),
        Word(
            "positions",
            "the numbers of the tokens' places in the prompt",
            "When tokens go, the others either keep their numbers (keep) or are counted anew, without "
            "gaps (renumber). By default each method does what its own code does.",
            ("renumber", "position ids"),
        ),
        Word(
            "M-RoPE",
            "positions of Qwen2.5-VL, with time, row and column",
            "They cannot be counted anew, so they are always kept.",
            ("mrope",),
        ),
        Word(
            "pool",
            "the visual tokens that are ranked together: all of one sample, those of one picture "
            "or whole video, or those of one frame",
        ),
        Word(
            "frame",
            "one time step of a video in the language model; of Qwen two pictures of the video, "
            "elsewhere one. A still picture is a single frame",
        ),
    ),
    "How tokens are chosen": (
        Word("score", "a number for each visual token; the highest stay", "", ("scores",)),
        Word(
            "TTV",
            "how much a layer changes a token (Token Transition Variation)",
            "TransPrune's first criterion: length and direction of a token in front of and behind "
            "the attention and the MLP of a layer.",
            ("transition", "token transition variation", "transitions"),
        ),
        Word(
            "IGA",
            "how much attention a token gets from the question (Instruction-Guided Attention)",
            "TransPrune's second criterion.",
            ("instruction-guided attention",),
        ),
        Word(
            "saliency",
            "how much attention a patch receives inside the vision tower",
            "",
            ("vision attention",),
        ),
        Word(
            "trace",
            "the record of one run: which tokens stayed, where, and what it cost",
            "In Python `session.trace`; `session.trace.plot(picture)` draws it.",
        ),
        Word("overlay", "the picture with its dropped patches darkened"),
    ),
    "What it costs": (
        Word(
            "prefill",
            "the first pass, over the whole prompt with its picture",
            "Most of the work of a short answer, and what pruning makes cheaper.",
        ),
        Word("decode", "every later step, one for each further token of the answer"),
        Word(
            "exact",
            "all the work of the language model: every token, and choosing the tokens too",
            "Two FLOPs for each multiply-add. The count to trust for a whole prompt.",
        ),
        Word(
            "paper",
            "the work as most papers count it: visual tokens alone, choosing them is free",
            "In multiply-adds (MACs), which papers print as FLOPs. Use it to compare with published "
            "tables, never with an exact figure.",
        ),
        Word(
            "FLOPs",
            "additions and multiplications, the unit of work; T is a million million of them",
            "A multiply-add (MAC) is two.",
            ("MACs", "TFLOPs", "MAC"),
        ),
        Word("scoring", "the work of choosing the tokens; part of exact, not of paper"),
        Word(
            "K/V",
            "memory for the prompt's keys and values, which every later step reads again",
            "It shrinks with every token that is dropped.",
            ("kv", "cache", "key/value cache"),
        ),
        Word(
            "budget",
            "how much prefill work a method may do, in percent of the unpruned model (exact)",
            "At a budget of 41 % methods are set so that each does 41 % of the work; then their "
            "answers can be compared. `own` leaves a method its own settings.",
            ("41 % budget", "own", "equal cost"),
        ),
    ),
    "How answers are compared": (
        Word(
            "Acc.",
            "right answers relative to the unpruned model, mean over the tasks; 100 is as good",
            "As the TransPrune paper reports it.",
            ("relative accuracy", "accuracy", "acc"),
        ),
        Word(
            "control",
            "a rule that nobody proposes, to compare with: random, even, or averaged tokens",
            "",
            ("controls",),
        ),
        Word(
            "oracle",
            "a control that is given the patches with the objects of the question",
            "No method has this knowledge; it shows how far pruning could go. `oracle-0` drops once, in "
            "front of the language model.",
            ("oracle-0",),
        ),
        Word(
            "floor",
            "the right answers that remain when the picture is blank",
            "What guessing alone gets.",
            ("blank", "blanked"),
        ),
        Word(
            "95 % interval",
            "how far a difference could be chance, from drawing the pictures again and again",
            "Paired: both methods answer the same pictures. If it leaves out zero, the difference "
            "is more than chance.",
            ("interval", "paired"),
        ),
    ),
}
