"""What answers: sessions, the engine that swaps them, releases and the HTTP door."""
