"""The CPU's int8 step as one native call, built on the spot where there is a C compiler.

At one stream a step of separate PyTorch calls spends most of its time between the calls. Here a
team of threads walks through all layers at once (``step.c`` draws the walk). Without a compiler or
a suitable processor everything runs through PyTorch instead, slower, with the same exactness.
"""
