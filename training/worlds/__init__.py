"""Small seeded worlds whose truth is known, and simulated people who see only the text. Plain Python, no torch."""
