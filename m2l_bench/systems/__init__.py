"""The systems that are compared: protocols, registry, and one module per system."""
