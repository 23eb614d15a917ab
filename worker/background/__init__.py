"""What runs beside the journey, and what the doors ask: health, doctor, replays, retention."""
