"""Tables and figures of the TransPrune paper, run again: published | ours | difference.

    exhibits    what the paper prints, one file a table or figure
    plan        the options of a run
    costs       the cost columns, counted
    estimate    hours on one GPU, counted
    smoke       a few drawn rows of every benchmark in its true layout
    asked       what is asked with these options
    benchmark   one benchmark under one model: its run folder
    harness_tasks   the tasks of lmms-eval that stand for our benchmarks
    harness_data    a folder of data sets where it finds them
    harness_keeper  its answers as records
    harness     the same benchmark asked and scored by lmms-eval
    ranks       processes that answer together
    processes   starts them
    verdicts    a judge's verdicts on free answers
    timing      milliseconds and memory of a table of times
    scores      scores with intervals from the records
    result      the table: published, ours, difference
    work        a table while it is answered
    pilot       how long it takes, measured on a few questions
    run         a table from one plan, row by row
    catalogue   what there is and what it needs
    words       figures and sentences for people
    chart       published and ours as dots
    figures     the paper's figures, drawn by `transprune.report`
    page        HTML and JSON
    launch      all of it for the command line

Answers are records of `transprune.bench`, in one folder for each model and benchmark, which all
tables share: what one table asked, the next one does not ask again.
"""
