"""From records to a table: means, intervals, comparisons."""
