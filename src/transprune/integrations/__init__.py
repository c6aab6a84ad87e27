"""Other libraries' own interfaces to pruning, one module each. None is imported unless asked for."""
