"""`transprune tune`: the best setting of a method for one model, its questions and a budget.

No labels are needed: a setting is good if the first answer tokens stay as the unpruned model gives
them. Imports between the modules go one way:

    plan       the options of a search
    questions  questions from a file, without labels; the held-out part
    unpruned   the reference: answers of the unpruned model, kept on disk
    loss       how far a method is from the reference
    budget     costs, and a method brought to a budget
    bounds     what a recipe text holds fixed, and where a method may begin
    space      what is searched, drawn from a trial
    journal    the file of the trials, usable after a kill
    tried      what the trials found
    study      the trials, one after the other
    settings   which search a folder holds
    result     the held-out figures, the recipe, the provenance
    plot       the trials and their front as a picture
    launch     the whole search from one `Plan`
    fit        `transprune fit`, which searches nothing: FitPrune's own fit, with the same questions
"""
