"""Pictures of structures with energy barriers, and of runs; one module per picture.

Each module computes its numbers in one function and draws them in another, so that numbers can be
tested and pictures combined. ``symgnn plot`` is the command.
"""
