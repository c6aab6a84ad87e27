"""Types that methods, families and the runtime share: layouts, views, signals, plans."""
