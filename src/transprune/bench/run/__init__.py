"""From method names and budgets to records: conditions, prepared questions, answers."""
