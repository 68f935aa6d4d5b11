"""Synthetic people: made up from a seed, planted in a model by fine-tuning, and judged against retraining."""
