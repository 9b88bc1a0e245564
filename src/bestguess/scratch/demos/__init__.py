"""What the engine is for: data, training, and models that learn something while you watch."""
