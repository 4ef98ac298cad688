"""What operators allowed beyond a budget, and which budgets were warned of."""
