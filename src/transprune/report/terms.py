"""The words of the page in plain English; `transprune glossary` has more of them."""

from __future__ import annotations

# the words of the field are needed on the page, so each is explained before the first number
TERMS = {
    "visual token": "one patch of the picture, as input of the language model; pruning drops some",
    "prefill": "the first pass of the model, over the whole prompt with its picture; most of the "
    "work of a short answer, and the work that pruning saves",
    "budget": "how much of that work a method may do; at 41 % all methods are set to do 41 % of "
    "it, so that their answers can be compared",
    "exact": "work counted in full: every token, and choosing the tokens too",
    "paper": "work as most papers count it: visual tokens only, choosing them is free",
    "K/V": "memory for the keys and values of the prompt, which every later step reads again",
    "boundary, stage": "a gap between two layers at which tokens are dropped; the layers from one "
    "such gap to the next",
    "TTV, IGA": "TransPrune's two criteria: how much a layer changes a token, and how much "
    "attention the question pays to it",
    "Acc.": "right answers relative to the unpruned model, mean over the tasks; 100 is as good",
    "control, oracle": "rules that nobody proposes, to compare with, such as random choice; an "
    "oracle is given the tokens that the question is about, which no method knows",
    "renumber": "number the tokens that stay anew, without gaps; or they keep their positions",
}
