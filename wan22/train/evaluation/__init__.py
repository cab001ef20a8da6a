"""Evaluate a model by a recipe: videos made and measured, validation loss by noise band, one set of numbers."""
