"""What latents mean."""
