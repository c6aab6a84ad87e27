"""transprune inside other tools, each imported only where it is asked for.

pipeline       transformers' pipeline with the argument `pruning`
lmms_eval      the model classes of lmms-eval; imports it
lmms_base      what they share
lmms_results   answers and costs as it takes them
lmms_manifest  how lmms-eval finds them
lmms_tasks     tasks that lmms-eval lacks
keeper         answers that are kept while lmms-eval asks
messages       a conversation of another tool as a prompt with its pictures and videos
batches        several prompts answered together, each as it would be alone
summary        what a run of many prompts cost, as a few numbers
"""
