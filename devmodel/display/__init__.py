"""What stands on the guest's screen, as text and as a picture."""
