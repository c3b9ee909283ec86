"""How well a model file ranks, how far it is from its reference, and what it costs in time."""
