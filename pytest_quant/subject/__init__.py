"""What the user gave: the FP32 model with its data, metric and training, checked at the door."""
