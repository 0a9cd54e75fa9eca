"""Whole ways through the program: one file for each command that does more than show something."""
