"""The words that the small runs' sentences are told apart by."""

GOOD, BAD = ("good", "fine", "fun"), ("bad", "slow", "dull")
