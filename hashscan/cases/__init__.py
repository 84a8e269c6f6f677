"""What follows from findings: who must act by when, who was told, and what became of it."""
