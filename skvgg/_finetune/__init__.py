"""Fine-tuning on stored maps: first the head, then also the layers below."""
