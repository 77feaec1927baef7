"""What the guides say, held against what the program does."""
