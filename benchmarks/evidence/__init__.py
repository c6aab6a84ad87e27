"""docs/evidence.md: which claims of the TransPrune paper hold, on which model.

    python -m benchmarks.evidence                                   # the page, from docs/evidence/*.json
    python -m benchmarks.evidence --measure nano out/accuracy out/paper-cost     # nano.json, then the page

claim       what the paper says, as comparisons that a run can decide
claims/     its claims, one file for each kind
published   the same comparisons in the paper's own tables
verdict     from an interval to a word
answers     comparisons of accuracy, from runs of `transprune bench`; chosen reads them
checks      which runs may stand in one column
places      where a run kept tokens
bed, beds   a model and pictures of which it is known what they show
ranking     how well every layer ranks tokens of a test bed
signal      the same with intervals
ladder      what was measured on one model, as a file
page        the page, from the ladders; details/ has tables of single sections
pictures/   its pictures, from the ladders
"""
