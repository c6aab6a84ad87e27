"""From a request to a finished run: methods at budgets, prompts, answers."""
