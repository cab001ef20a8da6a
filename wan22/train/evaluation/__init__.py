"""Evaluate a model by a recipe: films made and measured, validation loss by noise band, one set of numbers."""
