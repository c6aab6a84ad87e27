"""The words that methods, families and the runtime share: layouts, views, signals, schedules, plans."""
