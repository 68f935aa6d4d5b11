"""Recover-to-Forget (arXiv 2512.07374): the method; depends on torch, transformers and peft only."""
