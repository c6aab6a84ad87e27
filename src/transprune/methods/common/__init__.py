"""What methods share: their base classes, their budgets, and recipes as text and JSON."""
