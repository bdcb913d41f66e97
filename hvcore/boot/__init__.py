"""What lies in memory when a guest starts: firmware, a flat image, or a Linux or multiboot kernel."""
