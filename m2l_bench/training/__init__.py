"""Training of any family from a recipe: crops, loop, checkpoints, validation; what is learnt is the family's objective.

Read in this order: recipe, crops, objective, optimization, state, log, validation, loop.
"""
