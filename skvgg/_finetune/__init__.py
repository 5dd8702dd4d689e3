"""Fine-tuning: the head first, then the layers below it, on stored maps."""
