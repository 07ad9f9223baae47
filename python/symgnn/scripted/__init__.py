"""The forms that trained models take in model files, written for TorchScript."""
