"""What OpenAI's clients send, and what they expect."""
