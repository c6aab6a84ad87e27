"""Controls: rules that nobody proposes as a method, to compare methods with."""
