"""docs/evidence.md: which claims of the TransPrune paper hold, on which model.

    python -m benchmarks.evidence                                   # the page, from docs/evidence/*.json
    python -m benchmarks.evidence --measure nano out/accuracy out/paper-cost     # nano.json, then the page

claim       what the paper says, as comparisons that a run can decide
claims/     its claims, one file for each kind
published   the same comparisons in the paper's own tables
verdict     from an interval to a word
answers     comparisons of accuracy, from runs of `transprune bench`
places      where a run kept tokens
signal      how well every layer ranks tokens, measured on a test bed
beds        test beds by name
ladder      what was measured on one model, as a file
page        the page, from the ladders
pictures/   its pictures, from the ladders
"""
