"""prepare -> calibrate or train -> convert: from the FP32 model to a quantized one."""
