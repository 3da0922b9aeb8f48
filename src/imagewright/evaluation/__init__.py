"""How good a model is: predictions, pictures and the report."""
