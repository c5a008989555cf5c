"""Triton kernels of the GPU path. Import them where they run: Triton is heavy, and a CPU has none.

With TRITON_INTERPRET=1 they run on a CPU, which is how they are tested. Not yet measured on a GPU.
"""
